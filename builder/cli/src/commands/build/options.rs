//! Arguments of `kiln build` as what compiler and engine take.

use crate::arguments::{
    BuildArguments, GlobalArguments, parse_cache_source, parse_cache_target, parse_output,
};
use crate::configuration;
use crate::error::Failure;
use crate::quantity::bytes;
use crate::session::{parse_platform, parse_reference};
use kiln_dockerfile::{CompileOptions, Privilege, Privileges};
use kiln_engine::sandbox::runspec::{IoKind, IoLimit, Limits};
use kiln_engine::{
    CacheSource, CacheTarget, HOST_GATEWAY, Output, SecretSource, Secrets, UsualNetwork,
};
use kiln_oci::Reference;
use kiln_plan::NetworkMode;
use kiln_transfer::image::Listing;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Steps that run at once for each processor unless said otherwise: most of them wait for
/// something.
const JOBS_PER_PROCESSOR: usize = 8;

/// Returns how many steps run at once unless said otherwise: by the processors that this
/// process may use, which its control group may limit.
pub fn default_jobs() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors * JOBS_PER_PROCESSOR
}

/// The build argument that asks for an inline cache.
const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";

/// The build argument that asks for an index of a single image, too.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Length of the period in which processor time is counted.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;

pub fn compile_options(arguments: &BuildArguments) -> Result<CompileOptions, Failure> {
    let filters: Vec<_> = arguments
        .no_cache_filter
        .iter()
        .map(|filter| cache_filter(filter))
        .collect();
    let platforms = arguments
        .platform
        .iter()
        .map(|platform| parse_platform(platform));
    Ok(CompileOptions {
        target: arguments.target.clone(),
        build_args: build_arguments(arguments),
        platforms: platforms.collect::<Result<_, _>>()?,
        labels: pairs(&arguments.label, "label", '=')?,
        network: network(arguments)?,
        no_cache: arguments.no_cache,
        no_cache_stages: (filters.iter().filter(|(_, line)| line.is_none()))
            .filter_map(|(stage, _)| stage.clone())
            .collect(),
        no_cache_lines: (filters.into_iter())
            .filter_map(|(stage, line)| Some((stage, line?)))
            .collect(),
        extra_hosts: extra_hosts(&arguments.add_host)?,
        ulimits: arguments
            .ulimit
            .iter()
            .map(|limit| ulimit(limit))
            .collect::<Result<_, _>>()?,
        shm_size_bytes: arguments.shm_size.as_deref().map(bytes).transpose()?,
        privileges: privileges(arguments),
        emulation: Some(Arc::new(super::emulation::Emulators)),
        ..CompileOptions::default()
    })
}

/// What `--allow` gives, and what other options give with it. What is not run needs none.
fn privileges(arguments: &BuildArguments) -> Privileges {
    if arguments.question().is_some() || arguments.print_plan {
        return Privileges::Unchecked;
    }
    let allows = |name: &str| arguments.allow.iter().any(|allowed| allowed == name);
    let mut privileges = Vec::new();
    if allows("network.host") || arguments.network == "host" {
        privileges.push(Privilege::HostNetwork);
    }
    if allows("security.insecure") {
        privileges.push(Privilege::Insecure);
    }
    if allows("device") {
        privileges.push(Privilege::AllDevices);
    }
    let named = arguments.allow.iter();
    let named = named.filter_map(|allowed| allowed.strip_prefix("device="));
    privileges.extend(named.map(|name| Privilege::Device(name.to_owned())));
    Privileges::Listed(privileges)
}

/// The build arguments, with that of the environment which needs no flag.
fn build_arguments(arguments: &BuildArguments) -> Vec<(String, Option<String>)> {
    let epoch = std::env::var(EPOCH).ok();
    let epoch = epoch.map(|value| (EPOCH.to_owned(), Some(value)));
    let given = arguments.build_arg.iter();
    let given = given.map(|argument| build_argument(argument));
    epoch.into_iter().chain(given).collect()
}

/// The latest time in what is built: taken from the environment unless given.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// `STAGE`, `STAGE:LINE` or `:LINE` as a stage and a line.
fn cache_filter(filter: &str) -> (Option<String>, Option<usize>) {
    let with_line = filter
        .rsplit_once(':')
        .and_then(|(stage, line)| Some((stage, line.parse().ok()?)));
    match with_line {
        Some((stage, line)) => (
            Some(stage.to_owned()).filter(|stage| !stage.is_empty()),
            Some(line),
        ),
        None => (Some(filter.to_owned()), None),
    }
}

/// Without a value it is that of the environment.
fn build_argument(argument: &str) -> (String, Option<String>) {
    match argument.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (argument.to_owned(), std::env::var(argument).ok()),
    }
}

fn network(arguments: &BuildArguments) -> Result<NetworkMode, Failure> {
    match arguments.network.as_str() {
        "default" | "private" | "" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(
            Failure::usage(format!("network mode `{other}` is not supported"))
                .with_hint("use default, private, none or host"),
        ),
    }
}

/// Returns the network of steps that ask for none in particular: as the arguments say, else as
/// the configuration does.
pub fn usual_network(
    global: &GlobalArguments,
    arguments: &BuildArguments,
) -> Result<UsualNetwork, Failure> {
    match arguments.network.as_str() {
        "private" => Ok(UsualNetwork::Private),
        _ => configuration::usual_network(global),
    }
}

fn pairs(
    arguments: &[String],
    what: &str,
    separator: char,
) -> Result<Vec<(String, String)>, Failure> {
    let pair = |argument: &String| match argument.split_once(separator) {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None if what == "label" => Ok((argument.clone(), String::new())),
        None => Err(Failure::usage(format!("invalid {what} `{argument}`"))
            .with_hint(format!("write it as KEY{separator}VALUE"))),
    };
    arguments.iter().map(pair).collect()
}

/// `HOST:IP`, or `HOST=IP`, where an IPv6 address may stand in brackets.
fn extra_hosts(arguments: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let host = |argument: &String| {
        let (name, address) = argument
            .split_once('=')
            .or_else(|| argument.split_once(':'))
            .ok_or_else(|| invalid_host(argument, "it has no address"))?;
        // Which address that is depends on the network of the step.
        if address == HOST_GATEWAY {
            return Ok((name.to_owned(), address.to_owned()));
        }
        let address = address.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<std::net::IpAddr>() {
            Ok(_) => Ok((name.to_owned(), address.to_owned())),
            Err(_) => Err(invalid_host(argument, "the address is not an IP address")),
        }
    };
    arguments.iter().map(host).collect()
}

fn invalid_host(argument: &str, reason: &str) -> Failure {
    Failure::usage(format!("invalid host `{argument}`: {reason}"))
        .with_hint("write it as HOST:IP, such as db:10.0.0.2")
}

fn ulimit(argument: &str) -> Result<(String, u64, u64), Failure> {
    let invalid = || {
        Failure::usage(format!("invalid resource limit `{argument}`"))
            .with_hint("write it as NAME=SOFT[:HARD], such as nofile=1024:2048")
    };
    let (name, values) = argument.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Some(u64::MAX),
        text => text.parse().ok(),
    };
    match (number(soft), number(hard)) {
        (Some(soft), Some(hard)) if soft <= hard => Ok((name.to_owned(), soft, hard)),
        _ => Err(invalid()),
    }
}

/// Where devices are described, unless the arguments say.
pub fn device_directories(arguments: &BuildArguments) -> Vec<PathBuf> {
    match arguments.cdi_spec_dir.as_slice() {
        [] => kiln_engine::CDI_DIRECTORIES.map(PathBuf::from).to_vec(),
        given => given.to_vec(),
    }
}

pub fn names(arguments: &BuildArguments) -> Result<Vec<Reference>, Failure> {
    arguments
        .tag
        .iter()
        .map(|name| parse_reference(name))
        .collect()
}

/// The outputs asked for, with what `--load` and `--push` stand for.
pub fn outputs(arguments: &BuildArguments) -> Result<Vec<Output>, Failure> {
    let load = arguments.load.then_some("type=docker");
    let push = arguments.push.then_some("type=registry");
    let written = arguments.output.iter().map(String::as_str);
    written.chain(load).chain(push).map(parse_output).collect()
}

pub fn cache_from(arguments: &BuildArguments) -> Result<Vec<CacheSource>, Failure> {
    let specifications = arguments.cache_from.iter();
    specifications
        .map(|text| parse_cache_source(text))
        .collect()
}

/// The caches to write, with the one that the build argument of other builders asks for.
pub fn cache_to(arguments: &BuildArguments) -> Result<Vec<CacheTarget>, Failure> {
    let inline = is_asked_for(arguments, INLINE_CACHE).then_some("type=inline");
    let written = arguments.cache_to.iter().map(String::as_str);
    written.chain(inline).map(parse_cache_target).collect()
}

/// Whether the build argument `name` is given and true.
fn is_asked_for(arguments: &BuildArguments, name: &str) -> bool {
    let given = arguments.build_arg.iter().rev();
    let value = given
        .filter_map(|argument| argument.split_once('='))
        .find(|(known, _)| *known == name);
    value.is_some_and(|(_, value)| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// When images are listed in an index.
pub fn listing(arguments: &BuildArguments) -> Listing {
    match is_asked_for(arguments, MULTI_PLATFORM) {
        true => Listing::Always,
        false => Listing::Several,
    }
}

pub fn limits(arguments: &BuildArguments) -> Result<Limits, Failure> {
    let quota = arguments.cpus.map(|cpus| {
        // Processors are few and the period is short: nothing is lost.
        (cpus * CPU_PERIOD_MICROSECONDS as f64).round().max(1_000.0) as u64
    });
    let mut limits = Limits {
        memory_bytes: arguments.memory.as_deref().map(bytes).transpose()?,
        memory_and_swap_bytes: arguments.memory_swap.as_deref().map(swap).transpose()?,
        cpu_quota_microseconds: quota.or(arguments.cpu_quota),
        cpu_period_microseconds: quota
            .map(|_| CPU_PERIOD_MICROSECONDS)
            .or(arguments.cpu_period),
        cpu_shares: arguments.cpu_shares,
        cpuset_cpus: arguments.cpuset_cpus.clone(),
        cpuset_mems: arguments.cpuset_mems.clone(),
        pids: None,
        io_weight: arguments.blkio_weight,
        io: Vec::new(),
    };
    for (kind, given) in [
        (IoKind::ReadBytes, &arguments.device_read_bps),
        (IoKind::WriteBytes, &arguments.device_write_bps),
        (IoKind::Reads, &arguments.device_read_iops),
        (IoKind::Writes, &arguments.device_write_iops),
    ] {
        for text in given {
            limits.io.push(io_limit(kind, text)?);
        }
    }
    for field in arguments.resource.iter().flat_map(|spec| spec.split(',')) {
        add_resource(&mut limits, field)?;
    }
    Ok(limits)
}

/// `DEVICE:RATE`, where the rate is in bytes or operations a second.
fn io_limit(kind: IoKind, text: &str) -> Result<IoLimit, Failure> {
    let invalid = |reason: &str| {
        Failure::usage(format!("invalid limit of a device `{text}`: {reason}"))
            .with_hint("write it as DEVICE:RATE, such as /dev/sda:10mb")
    };
    let (path, rate) = text
        .rsplit_once(':')
        .ok_or_else(|| invalid("it has no rate"))?;
    let found = std::fs::metadata(path).map_err(|error| invalid(&error.to_string()))?;
    if !found.file_type().is_block_device() {
        return Err(invalid("that is no block device"));
    }
    let per_second = match kind {
        IoKind::ReadBytes | IoKind::WriteBytes => bytes(rate)?,
        IoKind::Reads | IoKind::Writes => rate
            .parse()
            .map_err(|_| invalid("the rate is not a number"))?,
    };
    Ok(IoLimit {
        device: (major(found.rdev()), minor(found.rdev())),
        kind,
        per_second,
    })
}

/// As glibc takes device numbers apart.
fn major(device: u64) -> u32 {
    (((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff)) as u32
}

fn minor(device: u64) -> u32 {
    (((device >> 12) & 0xffff_ff00) | (device & 0xff)) as u32
}

/// `-1` is as much as there is.
fn swap(text: &str) -> Result<u64, Failure> {
    match text {
        "-1" => Ok(u64::MAX),
        text => bytes(text),
    }
}

/// Sets the limit that `KEY=VALUE` says, over one that a flag of its own has set.
fn add_resource(limits: &mut Limits, field: &str) -> Result<(), Failure> {
    let invalid = || {
        Failure::usage(format!("invalid resource `{field}`")).with_hint(
            "write it as memory=, memory-swap=, cpu-shares=, cpu-period=, cpu-quota=, \
             cpuset-cpus= or cpuset-mems=",
        )
    };
    let (key, value) = field.split_once('=').ok_or_else(invalid)?;
    let number = || value.parse().map(Some).map_err(|_| invalid());
    match key {
        "memory" => limits.memory_bytes = Some(bytes(value)?),
        "memory-swap" => limits.memory_and_swap_bytes = Some(swap(value)?),
        "cpu-shares" => limits.cpu_shares = number()?,
        "cpu-period" => limits.cpu_period_microseconds = number()?,
        "cpu-quota" => limits.cpu_quota_microseconds = number()?,
        "cpuset-cpus" => limits.cpuset_cpus = Some(value.to_owned()),
        "cpuset-mems" => limits.cpuset_mems = Some(value.to_owned()),
        _ => return Err(invalid()),
    }
    Ok(())
}

/// `id=ID[,src=FILE|,env=NAME][,type=file|env]`.
pub fn secrets(arguments: &BuildArguments) -> Result<Secrets, Failure> {
    let secrets = arguments.secret.iter().map(|secret| parse_secret(secret));
    let sources: BTreeMap<String, SecretSource> = secrets.collect::<Result<_, _>>()?;
    Ok(sources.into())
}

fn parse_secret(argument: &str) -> Result<(String, SecretSource), Failure> {
    let invalid = || {
        Failure::usage(format!("invalid secret `{argument}`"))
            .with_hint("write it as id=ID,src=FILE or id=ID,env=NAME")
    };
    let mut fields = BTreeMap::new();
    for field in argument.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(invalid)?;
        fields.insert(key, value.to_owned());
    }
    let kind = fields.remove("type");
    let file = fields.remove("src").or_else(|| fields.remove("source"));
    let variable = fields.remove("env");
    let id = fields.remove("id").ok_or_else(invalid)?;
    if !fields.is_empty() {
        return Err(invalid());
    }
    let source = match (kind.as_deref(), file, variable) {
        (None | Some("file"), Some(file), None) => SecretSource::File(file.into()),
        (None | Some("env"), None, Some(variable)) => SecretSource::Variable(variable),
        (Some("env"), source, None) => SecretSource::Variable(source.unwrap_or(id.clone())),
        (None, None, None) if std::env::var_os(&id).is_some() => SecretSource::Variable(id.clone()),
        (None | Some("file"), None, None) => SecretSource::File(id.clone().into()),
        _ => return Err(invalid()),
    };
    Ok((id, source))
}

/// `default`, `ID`, or `ID=SOCKET`; without a socket that of the running agent.
pub fn ssh_agents(arguments: &BuildArguments) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let agent = |argument: &String| match argument.split_once('=') {
        Some((id, socket)) => Ok((id.to_owned(), agent_socket(id, socket)?)),
        None => match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) => Ok((argument.clone(), PathBuf::from(socket))),
            None => Err(Failure::usage(format!("no SSH agent for `{argument}`"))
                .with_hint("start one with ssh-agent, or name its socket: --ssh default=SOCKET")),
        },
    };
    arguments.ssh.iter().map(agent).collect()
}

fn agent_socket(id: &str, path: &str) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::FileTypeExt;
    let file_type = std::fs::metadata(path).map(|metadata| metadata.file_type());
    match file_type {
        Ok(kind) if kind.is_socket() => Ok(PathBuf::from(path)),
        Err(error) if !path.contains(',') => Err(Failure::caused(
            crate::error::Class::Usage,
            format!("cannot use the SSH agent `{id}` at {path}"),
            &error,
        )),
        _ => Err(Failure::usage(format!(
            "the SSH agent `{id}` is given as keys, which is not supported: {path} is no socket"
        ))
        .with_hint("add the keys to an agent: ssh-add KEY, then --ssh default")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_filters_name_stages_and_lines() {
        let stage = |name: &str| Some(name.to_owned());
        assert_eq!(cache_filter("build"), (stage("build"), None));
        assert_eq!(cache_filter("build:12"), (stage("build"), Some(12)));
        assert_eq!(cache_filter(":12"), (None, Some(12)));
        assert_eq!(cache_filter("a:b"), (stage("a:b"), None));
    }

    #[test]
    fn hosts_take_both_separators_and_brackets() {
        let hosts = ["db:10.0.0.2", "db=[fe80::1]", "me:host-gateway"].map(str::to_owned);
        let expected = [("db", "10.0.0.2"), ("db", "fe80::1"), ("me", HOST_GATEWAY)];
        let expected = expected.map(|(name, address)| (name.to_owned(), address.to_owned()));
        assert_eq!(extra_hosts(&hosts).unwrap(), expected);
        assert!(extra_hosts(&["db".to_owned()]).is_err());
        assert!(extra_hosts(&["db:x".to_owned()]).is_err());
    }

    #[test]
    fn device_numbers_are_taken_apart_and_other_files_refused() {
        assert_eq!((major(0x810), minor(0x810)), (8, 16));
        assert_eq!((major(0x0001_0000_0301), minor(0x10_0001)), (3, 257));
        for wrong in ["/dev/null:1", "/nowhere:1", "/dev/null", "x"] {
            assert!(io_limit(IoKind::Reads, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn resource_limits_have_a_soft_and_a_hard_value() {
        assert_eq!(ulimit("nofile=1:2").unwrap(), ("nofile".to_owned(), 1, 2));
        assert_eq!(
            ulimit("core=-1").unwrap(),
            ("core".to_owned(), u64::MAX, u64::MAX)
        );
        assert!(ulimit("nofile=2:1").is_err());
        assert!(ulimit("nofile").is_err());
    }
}
