//! What to do about what could not be fetched.

use kiln_engine::FetchError;

/// Returns what to do about `error`, where that can be told.
pub fn hint(error: &FetchError) -> Option<String> {
    Some(match error {
        FetchError::UnknownReference {
            suggestion: Some(name),
            ..
        } => format!("did you mean `{name}`?"),
        FetchError::UnknownReference { remote, .. } => {
            format!("`git ls-remote {remote}` lists what there is")
        }
        FetchError::ProgramMissing { program: "ssh", .. } => {
            "install it: apt-get install openssh-client, or apk add openssh-client".to_owned()
        }
        FetchError::ProgramMissing { program, .. } => {
            format!("install it: apt-get install {program}, or apk add {program}")
        }
        FetchError::Unauthorized { reason, .. } if reason.contains("Permission denied (") => {
            "give the agent that has the key with --ssh default".to_owned()
        }
        FetchError::Unauthorized { remote, .. } => format!(
            "give a token with --secret id=GIT_AUTH_TOKEN.{},src=FILE",
            host_of(remote)
        ),
        FetchError::HostKey { .. } => {
            "if its key has changed for good, remove the old one from ~/.ssh/known_hosts".to_owned()
        }
        FetchError::Redirected { .. } => "use the address that it has now".to_owned(),
        FetchError::WrongDigest { found, .. } => {
            format!("if the new content is meant, use --checksum={found}")
        }
        FetchError::WrongCommit { found, .. } => {
            format!("if the new commit is meant, use --checksum={found}")
        }
        FetchError::Web { url, source } if source.is_unauthorized() => format!(
            "give a token with --secret id=HTTP_AUTH_TOKEN_{},src=FILE",
            host_of(url)
        ),
        FetchError::Submodule { source, .. } => return hint(source),
        _ => return None,
    })
}

fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |parts| parts.1);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |parts| parts.1)
}
