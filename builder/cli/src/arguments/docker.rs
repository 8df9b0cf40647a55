//! Flags that `docker build` knows, and that mean nothing or are not there yet.
//!
//! A flag without effect is taken with a note, so that scripts go on working. One whose effect
//! would be missed is an error that says so.

use super::build::boolean;
use crate::error::Failure;
use clap::{ArgAction, Args};

// Flags of `docker build` that builds don't look at. (As a description this would be that of the
// command that has them.)
#[derive(Clone, Debug, Default, Args)]
pub struct DockerArguments {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set)]
    compress: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set)]
    rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set)]
    force_rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set)]
    squash: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set)]
    disable_content_trust: Option<bool>,
    #[arg(short = 'D', long, hide = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    debug: Option<bool>,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    attest: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    #[arg(long, hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, hide = true)]
    policy: Vec<String>,
}

impl DockerArguments {
    /// Notes what has no effect, and refuses what would be missed.
    pub fn examine(&self) -> Result<(), Failure> {
        if let Some(flag) = self.missed() {
            return Err(Failure::usage(format!("--{flag} is not supported"))
                .with_hint("leave it out: `kiln build --help` lists what there is"));
        }
        for (flag, reason) in self.without_effect() {
            crate::output::tell!("note: --{flag} has no effect: {reason}");
        }
        Ok(())
    }

    /// Returns a flag that asks for something that builds here do not do.
    fn missed(&self) -> Option<&'static str> {
        let is_on = |value: &Option<String>| {
            let value = value.as_deref();
            value.is_some_and(|value| boolean(value) != Ok(false))
        };
        let attest = |one: &String| !one.split(',').any(|field| field == "disabled=true");
        let asked = [
            ("attest", self.attest.iter().any(attest)),
            ("provenance", is_on(&self.provenance)),
            ("sbom", is_on(&self.sbom)),
            ("cgroup-parent", self.cgroup_parent.is_some()),
            ("policy", !self.policy.is_empty()),
        ];
        asked
            .into_iter()
            .find(|(_, asked)| *asked)
            .map(|(flag, _)| flag)
    }

    /// Returns the flags that are given and change nothing, each with the reason.
    fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let on = |flag: Option<bool>| flag == Some(true);
        let containers = "no containers are left behind";
        let all = [
            (
                "compress",
                on(self.compress),
                "the context is read where it is",
            ),
            ("rm", self.rm.is_some(), containers),
            ("force-rm", self.force_rm.is_some(), containers),
            ("squash", on(self.squash), "layers stay as they were made"),
            (
                "disable-content-trust",
                self.disable_content_trust.is_some(),
                "images are pinned by their digests",
            ),
            ("debug", on(self.debug), "there is nothing more to tell"),
            (
                "isolation",
                self.isolation.is_some(),
                "steps run in sandboxes of one kind",
            ),
            (
                "builder",
                self.builder.is_some(),
                "there is no builder to choose",
            ),
        ];
        let given = all.into_iter().filter(|(_, given, _)| *given);
        given.map(|(flag, _, reason)| (flag, reason)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        docker: DockerArguments,
    }

    fn parse(flags: &[&str]) -> DockerArguments {
        let flags = std::iter::once("kiln").chain(flags.iter().copied());
        Flags::try_parse_from(flags).expect("flags").docker
    }

    #[test]
    fn flags_without_effect_are_named() {
        let docker = parse(&["--rm", "--squash=false", "--isolation", "default", "-D"]);
        let named: Vec<_> = docker
            .without_effect()
            .into_iter()
            .map(|one| one.0)
            .collect();
        assert_eq!(named, ["rm", "debug", "isolation"]);
        assert_eq!(docker.missed(), None);
    }

    #[test]
    fn flags_that_would_be_missed_are_refused() {
        for (flags, expected) in [
            (&["--provenance=false", "--sbom=0"][..], None),
            (&["--provenance"], Some("provenance")),
            (&["--provenance=mode=max"], Some("provenance")),
            (&["--attest", "type=sbom"], Some("attest")),
            (&["--attest", "type=sbom,disabled=true"], None),
            (&["--cgroup-parent", "x"], Some("cgroup-parent")),
        ] {
            assert_eq!(parse(flags).missed(), expected, "{flags:?}");
        }
    }
}
