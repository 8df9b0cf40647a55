//! One run of the benchmark: each workload on a disk of its own, all builders in turns.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kiln_testdata::base::{BASE_HUB_NAME, BASE_TAG, base_image};
use kiln_testdata::distribution::{Registry, Setup};

use crate::contender::{Contender, Kind};
use crate::cost::Cost;
use crate::disk::Disk;
use crate::meter::Meter;
use crate::options::Options;
use crate::report::{self, Line, Measured};
use crate::workload::{self, Player, Site, Workload};

const GIB: u64 = 1 << 30;

/// Measures what `options` ask for; tells and writes the results after each workload.
///
/// Errors: the results cannot be written.
pub fn run(options: &Options) -> io::Result<()> {
    let contenders = options.contenders();
    let mut all = Vec::new();
    for workload in wanted(options) {
        all.extend(measure(
            options,
            workload.as_ref(),
            &contenders,
            options.scale,
        ));
        report::write(options, &all)?;
    }
    println!("{}", report::text::table(&all));
    Ok(())
}

/// Returns the workloads that `options` ask for.
pub fn wanted(options: &Options) -> Vec<Box<dyn Workload>> {
    let is_named = !options.only.is_empty();
    let all = workload::all().into_iter();
    all.filter(|workload| is_named || !workload.is_extreme())
        .filter(|workload| options.wants(workload.rows()))
        .collect()
}

/// Measures `workload` with `kinds` and the limit, round by round.
pub fn measure(
    options: &Options,
    workload: &dyn Workload,
    kinds: &[Kind],
    scale: f64,
) -> Vec<Measured> {
    let disk = Disk::mount(&options.place, options.disk_gib * GIB);
    let registry = Registry::start_in(&disk.path(), &Setup::default());
    registry.copy_in(&base_image(), BASE_TAG, BASE_HUB_NAME);
    let site = Site {
        disk: &disk,
        registry: &registry,
        scale,
    };
    let mut measured: Vec<Measured> = workload
        .rows()
        .iter()
        .map(|row| Measured::new(*row, workload.size(scale), scale))
        .collect();
    eprintln!("{}: preparing", measured[0].row.name);
    workload.prepare(&site);
    let contenders: Vec<Box<dyn Contender>> = kinds
        .iter()
        .map(|kind| kind.start(&disk, &options.kiln))
        .collect();
    let mut players: Vec<Player<'_>> = contenders
        .iter()
        .map(|one| player(one.as_ref(), &disk))
        .collect();
    players.retain(|player| attempt(player, || workload.prime(&site, player)).is_some());
    for number in 1..=options.rounds.unwrap_or(workload.rounds()) {
        let meter = Meter {
            disk: &disk,
            daemon: None,
        };
        take(
            &mut measured,
            "limit",
            workload.limit(&site, &meter, number),
        );
        players.retain(|player| {
            let costs = attempt(player, || workload.round(&site, player, number));
            let is_able = costs.is_some();
            let name = player.contender.kind().name();
            take(&mut measured, name, costs.unwrap_or_default());
            is_able
        });
    }
    measured
}

fn player<'a>(contender: &'a dyn Contender, disk: &'a Disk) -> Player<'a> {
    Player {
        meter: Meter {
            disk,
            daemon: contender.daemon(),
        },
        contender,
    }
}

/// Does `work`; a peer that fails in it takes no further part.
fn attempt<T>(player: &Player<'_>, work: impl FnOnce() -> T) -> Option<T> {
    if player.contender.kind() == Kind::Kiln {
        return Some(work());
    }
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        eprintln!(
            "{}: failed, and is left out",
            player.contender.kind().name()
        );
    }
    done
}

fn take(measured: &mut [Measured], who: &'static str, costs: Vec<Option<Cost>>) {
    for (measured, cost) in measured.iter_mut().zip(costs) {
        let Some(cost) = cost else { continue };
        eprintln!(
            "{}: {who}: {:.3} s, {:.3} s of processor time",
            measured.row.name,
            cost.wall.as_secs_f64(),
            cost.processor.as_secs_f64()
        );
        match measured.lines.iter_mut().find(|line| line.who == who) {
            Some(line) => line.runs.push(cost),
            None => measured.lines.push(Line {
                who,
                runs: vec![cost],
            }),
        }
    }
}
