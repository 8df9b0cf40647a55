//! Packet filters in the kernel's own words: tables, chains, rules, expressions.
//!
//! Sources: `linux/netfilter/nf_tables.h`, and what `nft --debug=netlink` prints.

use std::io;
use std::net::Ipv4Addr;

use super::netlink::{
    ACKNOWLEDGE, APPEND, Attributes, CREATE, Connection, DUMP, Message, attribute, attributes, text,
};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;

const ANY_FAMILY: u8 = 0;
const INET: u8 = 1;
const IPV4: u8 = 2;

/// The table goes when the connection that made it is closed (Linux 5.12).
const OWNED: u32 = 2;

/// Where a chain is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    pub(super) number: u32,
    pub(super) priority: i32,
    pub(super) kind: &'static str,
}

impl Hook {
    pub(super) const INPUT: Hook = Hook::filter(1);
    pub(super) const FORWARD: Hook = Hook::filter(2);
    pub(super) const AFTER_ROUTING: Hook = Hook {
        number: 4,
        priority: 100,
        kind: "nat",
    };

    const fn filter(number: u32) -> Self {
        Hook {
            number,
            priority: 0,
            kind: "filter",
        }
    }
}

/// A part of a rule.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// The packet came in by an interface of a name that begins so.
    From(Vec<u8>),
    /// It goes out by an interface of a name that begins so.
    To(Vec<u8>),
    /// It goes out by no interface of a name that begins so.
    NotTo(Vec<u8>),
    /// Its sender lies in a network.
    Sender(Ipv4Addr, u32),
    /// Its receiver lies in a network.
    Receiver(Ipv4Addr, u32),
    /// It belongs to something that was allowed.
    Belongs,
    Count,
    Masquerade,
    Accept,
    Drop,
}

/// Returns the name of one interface, to be compared as a whole.
pub(super) fn whole(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

impl Expression {
    fn attributes(&self) -> Vec<Attributes> {
        const INPUT_NAME: u32 = 6;
        const OUTPUT_NAME: u32 = 7;
        const SENDER_OFFSET: u32 = 12;
        const RECEIVER_OFFSET: u32 = 16;
        const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
        match self {
            Expression::From(name) => vec![meta(INPUT_NAME), compare(EQUAL, name)],
            Expression::To(name) => vec![meta(OUTPUT_NAME), compare(EQUAL, name)],
            Expression::NotTo(name) => vec![meta(OUTPUT_NAME), compare(NOT_EQUAL, name)],
            Expression::Sender(network, mask) => address(SENDER_OFFSET, *network, *mask),
            Expression::Receiver(network, mask) => address(RECEIVER_OFFSET, *network, *mask),
            Expression::Belongs => vec![
                named("ct", &numbers(&[(1, REGISTER), (2, 0)])),
                masked(&ESTABLISHED_OR_RELATED.to_ne_bytes()),
                compare(NOT_EQUAL, &[0; 4]),
            ],
            Expression::Count => vec![named("counter", &Attributes::new(&[]))],
            Expression::Masquerade => vec![named("masq", &Attributes::new(&[]))],
            Expression::Accept => vec![verdict(1)],
            Expression::Drop => vec![verdict(0)],
        }
    }
}

const REGISTER: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

fn named(name: &str, data: &Attributes) -> Attributes {
    Attributes::new(&[]).with_text(1, name).with_nested(2, data)
}

/// Numbers go in the order of the network.
fn numbers(all: &[(u16, u32)]) -> Attributes {
    all.iter()
        .fold(Attributes::new(&[]), |attributes, (kind, number)| {
            attributes.with(*kind, &number.to_be_bytes())
        })
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::new(&[]).with(1, bytes)
}

fn meta(key: u32) -> Attributes {
    named("meta", &numbers(&[(1, REGISTER), (2, key)]))
}

fn compare(operation: u32, bytes: &[u8]) -> Attributes {
    let data = numbers(&[(1, REGISTER), (2, operation)]).with_nested(3, &value(bytes));
    named("cmp", &data)
}

fn masked(mask: &[u8]) -> Attributes {
    let zeros = vec![0; mask.len()];
    let data = numbers(&[(1, REGISTER), (2, REGISTER), (3, mask.len() as u32)])
        .with_nested(4, &value(mask))
        .with_nested(5, &value(&zeros));
    named("bitwise", &data)
}

fn address(offset: u32, network: Ipv4Addr, mask: u32) -> Vec<Attributes> {
    const NETWORK_HEADER: u32 = 1;
    let load = numbers(&[(1, REGISTER), (2, NETWORK_HEADER), (3, offset), (4, 4)]);
    vec![
        named("payload", &load),
        masked(&mask.to_be_bytes()),
        compare(EQUAL, &network.octets()),
    ]
}

fn verdict(code: u32) -> Attributes {
    let verdict = Attributes::new(&[]).with_nested(2, &numbers(&[(1, code)]));
    named("immediate", &numbers(&[(1, 0)]).with_nested(2, &verdict))
}

fn header(family: u8, resource: u16) -> Vec<u8> {
    let mut bytes = vec![family, 0];
    bytes.extend(resource.to_be_bytes());
    bytes
}

/// Changes that are made all at once or not at all.
#[derive(Debug)]
pub(super) struct Changes {
    family: u8,
    table: String,
    messages: Vec<Message>,
}

impl Changes {
    /// Begins changes to an IPv4 table.
    pub(super) fn to(table: &str) -> Self {
        Changes {
            family: IPV4,
            table: table.to_owned(),
            messages: Vec::new(),
        }
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        Message::new(kind, flags | ACKNOWLEDGE, &header(self.family, 0)).with_text(1, &self.table)
    }

    pub(super) fn make_table(mut self, owned: Owned) -> Self {
        let flags = match owned {
            Owned::Yes => OWNED,
            Owned::No => 0,
        };
        let message = self.message(NEW_TABLE, CREATE);
        self.messages.push(message.with(2, &flags.to_be_bytes()));
        self
    }

    pub(super) fn remove_table(mut self) -> Self {
        self.messages.push(self.message(DELETE_TABLE, 0));
        self
    }

    /// Makes a chain that lets through what no rule stops.
    pub(super) fn make_chain(mut self, name: &str, hook: Hook) -> Self {
        let place = numbers(&[(1, hook.number), (2, hook.priority as u32)]);
        let message = self.message(NEW_CHAIN, CREATE).with_text(3, name);
        let message = message.with_nested(4, &place).with_text(7, hook.kind);
        self.messages.push(message);
        self
    }

    /// Adds a rule behind the others.
    pub(super) fn append(self, chain: &str, rule: &[Expression]) -> Self {
        self.rule(chain, rule, APPEND)
    }

    /// Adds a rule before the others.
    pub(super) fn insert(self, chain: &str, rule: &[Expression]) -> Self {
        self.rule(chain, rule, 0)
    }

    fn rule(mut self, chain: &str, rule: &[Expression], place: u16) -> Self {
        let parts = rule.iter().flat_map(Expression::attributes);
        let list = parts.fold(Attributes::new(&[]), |list, part| {
            list.with_nested(1, &part)
        });
        let message = self.message(NEW_RULE, CREATE | place).with_text(2, chain);
        self.messages.push(message.with_nested(4, &list));
        self
    }

    pub(super) fn remove_rule(mut self, chain: &str, handle: &[u8]) -> Self {
        let message = self.message(DELETE_RULE, 0).with_text(2, chain);
        self.messages.push(message.with(3, handle));
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Makes the changes.
    pub(super) fn make(self, filters: &mut Connection) -> io::Result<()> {
        let batch = |kind| Message::new(kind, 0, &header(ANY_FAMILY, SUBSYSTEM >> 8));
        let mut messages = vec![batch(BATCH_BEGIN)];
        messages.extend(self.messages);
        messages.push(batch(BATCH_END));
        filters.ask_all(messages)
    }
}

/// Whether a table goes with who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Yes,
    No,
}

/// A chain that the kernel asks of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) is_ipv4_table: bool,
    pub(super) table: String,
    pub(super) name: String,
    pub(super) drops_the_rest: bool,
}

/// Returns the chains that are asked about packets that are passed on.
pub(super) fn forward_chains(filters: &mut Connection) -> io::Result<Vec<Chain>> {
    let question = Message::new(GET_CHAIN, DUMP, &header(ANY_FAMILY, 0));
    let listed = filters.list(question)?;
    Ok(listed
        .iter()
        .filter_map(|body| forward_chain(body))
        .collect())
}

fn forward_chain(body: &[u8]) -> Option<Chain> {
    let (family, fields) = (*body.first()?, body.get(4..)?);
    let number = |value: &[u8]| value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let hook = attribute(attribute(fields, 4)?, 1).and_then(number)?;
    let is_asked = matches!(family, INET | IPV4) && hook == Hook::FORWARD.number;
    is_asked.then(|| Chain {
        is_ipv4_table: family == IPV4,
        table: attribute(fields, 1).map(text).unwrap_or_default(),
        name: attribute(fields, 3).map(text).unwrap_or_default(),
        drops_the_rest: attribute(fields, 5).and_then(number) == Some(0),
    })
}

/// Returns the names of all IPv4 tables.
pub(super) fn tables(filters: &mut Connection) -> io::Result<Vec<String>> {
    let listed = filters.list(Message::new(GET_TABLE, DUMP, &header(IPV4, 0)))?;
    let name = |body: &Vec<u8>| attribute(body.get(4..)?, 1).map(text);
    Ok(listed.iter().filter_map(name).collect())
}

/// A rule that names an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamingRule {
    pub(super) handle: Vec<u8>,
    pub(super) interface: String,
}

/// Returns the rules of a chain that compare something with a name that begins with `prefix`.
pub(super) fn rules_naming(
    filters: &mut Connection,
    (table, chain): (&str, &str),
    prefix: &str,
) -> io::Result<Vec<NamingRule>> {
    let question = Message::new(GET_RULE, DUMP, &header(IPV4, 0));
    let question = question.with_text(1, table).with_text(2, chain);
    let listed = filters.list(question)?;
    let found = listed.iter().filter_map(|body| naming_rule(body, prefix));
    Ok(found.collect())
}

fn naming_rule(body: &[u8], prefix: &str) -> Option<NamingRule> {
    let fields = body.get(4..)?;
    let expressions = attributes(attribute(fields, 4)?);
    let compared = expressions.iter().filter_map(|(_, expression)| {
        let data = attribute(expression, 2)?;
        let is_comparison = attribute(expression, 1).map(text)? == "cmp";
        let value = attribute(attribute(data, 3)?, 1)?;
        is_comparison.then(|| text(value))
    });
    let mut names = compared.filter(|name| name.starts_with(prefix));
    Some(NamingRule {
        interface: names.next()?,
        handle: attribute(fields, 3)?.to_vec(),
    })
}
