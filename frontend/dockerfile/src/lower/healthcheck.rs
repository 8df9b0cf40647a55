//! HEALTHCHECK in the image's terms and in the history's.

use super::history;
use crate::instruction::{self, Command};
use kiln_oci::Healthcheck;
use std::time::Duration;

/// Returns what the image says of `check`.
pub(super) fn healthcheck(check: &instruction::Healthcheck) -> Healthcheck {
    let probe = match check {
        instruction::Healthcheck::None => {
            return Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            };
        }
        instruction::Healthcheck::Probe(probe) => probe,
    };
    Healthcheck {
        test: test(&probe.command),
        interval: nanoseconds(probe.interval),
        timeout: nanoseconds(probe.timeout),
        start_period: nanoseconds(probe.start_period),
        start_interval: nanoseconds(probe.start_interval),
        retries: probe.retries.map_or(0, i64::from),
    }
}

fn test(command: &Command) -> Vec<String> {
    match command {
        Command::Exec(arguments) => {
            let first = std::iter::once("CMD".to_owned());
            first.chain(arguments.iter().cloned()).collect()
        }
        Command::Shell { .. } => {
            let text = command.shell_text().unwrap_or_default();
            vec!["CMD-SHELL".to_owned(), text]
        }
    }
}

fn nanoseconds(duration: Option<Duration>) -> i64 {
    let nanoseconds = duration.unwrap_or_default().as_nanos();
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

/// Returns the check as other builders write it in a history.
pub(super) fn text(check: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        history::plain_list(&check.test),
        go_duration(check.interval),
        go_duration(check.timeout),
        go_duration(check.start_period),
        go_duration(check.start_interval),
        check.retries,
    )
}

/// Returns `nanoseconds` (not negative) as Go prints a duration: `1m30s`, `1.5s`, `20ms`.
fn go_duration(nanoseconds: i64) -> String {
    const UNITS: [(&str, i64); 3] = [("ns", 1), ("µs", 1_000), ("ms", 1_000_000)];
    const SECOND: i64 = 1_000_000_000;
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < SECOND {
        let fitting = UNITS.iter().rev().find(|(_, unit)| nanoseconds >= *unit);
        let (name, unit) = fitting.unwrap_or(&UNITS[0]);
        return format!("{}{name}", decimal(nanoseconds, *unit));
    }
    let minutes = nanoseconds / SECOND / 60;
    let seconds = decimal(nanoseconds % (60 * SECOND), SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Returns `value / unit` with as many decimals as it takes; `unit` is a power of ten.
fn decimal(value: i64, unit: i64) -> String {
    let width = unit.to_string().len() - 1;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanoseconds), expected);
        }
    }

    #[test]
    fn check_reads_as_in_histories_of_other_builders() {
        let check = Healthcheck {
            test: vec!["CMD-SHELL".into(), "kong health".into()],
            interval: 60_000_000_000,
            timeout: 10_000_000_000,
            retries: 10,
            ..Healthcheck::default()
        };
        let expected = "{Test:[CMD-SHELL kong health] Interval:1m0s Timeout:10s \
                        StartPeriod:0s StartInterval:0s Retries:10}";
        assert_eq!(text(&check), expected);
    }
}
