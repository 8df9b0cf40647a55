//! What lets private networks out of the host, and nothing in.
//!
//! The rules stand in a table of their own, `kiln-PROCESS-NUMBER`, which the kernel removes with the
//! process (Linux 5.12; before, the next run does). Where another's table stops all that is
//! passed on unless a rule of its own allows it, as Docker sets up the one of iptables, two
//! rules for each interface stand there too, in the form in which iptables writes them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::{MASK, Range};
use super::filter::{self, Chain, Changes, Expression, Hook, Owned, whole};
use super::link::{self, PREFIX};
use super::netlink::Connection;

/// The table that iptables keeps its rules in, and its chain for what is passed on.
const IPTABLES: (&str, &str) = ("filter", "FORWARD");

/// The rules of this process.
#[derive(Debug)]
pub(super) struct Translation {
    /// The table is owned by this connection.
    filters: Mutex<Connection>,
    table: String,
    needs_permits: bool,
}

/// Returns why nothing of a private network could be passed on here; nothing if it can.
pub(super) fn obstacle() -> Option<String> {
    let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    if forwards.unwrap_or_default().trim() != "1" {
        return Some(
            "this machine passes no packets on (sysctl net.ipv4.ip_forward is 0)".to_owned(),
        );
    }
    let chains = match Connection::filters().and_then(|mut all| filter::forward_chains(&mut all)) {
        Ok(chains) => chains,
        Err(error) => return Some(format!("the kernel's nf_tables cannot be used: {error}")),
    };
    let legacy = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == IPTABLES.0) {
        return Some("a firewall of legacy iptables may stop what is passed on".to_owned());
    }
    let stops = |chain: &&Chain| {
        (chain.drops_the_rest && !is_iptables(chain)) || chain.table == "firewalld"
    };
    let chain = chains.iter().find(stops)?;
    Some(format!(
        "the firewall stops what is passed on (chain {} of table {})",
        chain.name, chain.table
    ))
}

fn is_iptables(chain: &Chain) -> bool {
    chain.is_ipv4_table && (chain.table.as_str(), chain.name.as_str()) == IPTABLES
}

impl Translation {
    /// Sets the rules of this process up, and removes what dead processes left.
    pub(super) fn set_up(range: Range) -> io::Result<Self> {
        let mut filters = Connection::filters()?;
        remove_leftovers(&mut filters)?;
        let table = new_table();
        if rules(&table, range, Owned::Yes).make(&mut filters).is_err() {
            rules(&table, range, Owned::No).make(&mut filters)?;
        }
        let chains = filter::forward_chains(&mut filters)?;
        Ok(Translation {
            filters: Mutex::new(filters),
            table,
            needs_permits: chains.iter().any(is_iptables),
        })
    }

    fn filters(&self) -> MutexGuard<'_, Connection> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the firewall of iptables, if there is one, let through what `interface` sends and gets.
    pub(super) fn permit(&self, interface: &str) -> io::Result<()> {
        if !self.needs_permits {
            return Ok(());
        }
        let (table, chain) = IPTABLES;
        let rule = |side: Expression| [side, Expression::Count, Expression::Accept];
        Changes::to(table)
            .insert(chain, &rule(Expression::From(whole(interface))))
            .insert(chain, &rule(Expression::To(whole(interface))))
            .make(&mut self.filters())
    }

    /// Takes back what [`Translation::permit`] did.
    pub(super) fn forbid(&self, interface: &str) {
        if self.needs_permits {
            // Whoever else removed them has done it already.
            let _ = remove_permits(&mut self.filters(), |name| name == interface);
        }
    }
}

impl Drop for Translation {
    fn drop(&mut self) {
        let table = Changes::to(&self.table).remove_table();
        let _ = table.make(&mut self.filters());
    }
}

/// A process may have several, one after the other or at once.
fn new_table() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("kiln-{}-{number}", std::process::id())
}

/// Returns the process that a table belongs to.
fn owner(table: &str) -> Option<u32> {
    let mut parts = table.strip_prefix("kiln-")?.split('-');
    parts.next()?.parse().ok()
}

fn rules(table: &str, range: Range, owned: Owned) -> Changes {
    use Expression::{Accept, Belongs, Drop, From, Masquerade, NotTo, Receiver, Sender, To};
    let ours = || PREFIX.as_bytes().to_vec();
    let loopback = (std::net::Ipv4Addr::new(127, 0, 0, 0), 0xff00_0000);
    Changes::to(table)
        .make_table(owned)
        .make_chain("out", Hook::AFTER_ROUTING)
        .append(
            "out",
            &[Sender(range.network(), MASK), NotTo(ours()), Masquerade],
        )
        .make_chain("through", Hook::FORWARD)
        // Answers come back; nobody else gets in, from other private networks neither.
        .append("through", &[To(ours()), Belongs, Accept])
        .append("through", &[To(ours()), Drop])
        // Some hosts take packets for their loopback from elsewhere (route_localnet).
        .make_chain("here", Hook::INPUT)
        .append(
            "here",
            &[From(ours()), Receiver(loopback.0, loopback.1), Drop],
        )
}

/// Removes tables of processes that are gone and permits of interfaces that are gone.
fn remove_leftovers(filters: &mut Connection) -> io::Result<()> {
    for table in filter::tables(filters)? {
        let is_gone = |process| !Path::new(&format!("/proc/{process}")).exists();
        if owner(&table).is_some_and(is_gone) {
            // One that is owned goes by itself.
            let _ = Changes::to(&table).remove_table().make(filters);
        }
    }
    let _ = remove_permits(filters, |interface| !link::exists(interface));
    Ok(())
}

fn remove_permits(filters: &mut Connection, unwanted: impl Fn(&str) -> bool) -> io::Result<()> {
    let found = filter::rules_naming(filters, IPTABLES, PREFIX)?;
    let unwanted = found.iter().filter(|rule| unwanted(&rule.interface));
    let changes = unwanted.fold(Changes::to(IPTABLES.0), |changes, rule| {
        changes.remove_rule(IPTABLES.1, &rule.handle)
    });
    match changes.is_empty() {
        true => Ok(()),
        false => changes.make(filters),
    }
}
