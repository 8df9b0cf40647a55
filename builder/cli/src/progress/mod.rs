//! What people see of a build while it runs.
//!
//! A [`Renderer`] takes events one at a time; [`Progress`] hands them over from all threads.

mod plain;
mod rawjson;
mod steps;
mod tty;
mod warnings;

pub use steps::{ago, sanitized, size, usage};
pub use warnings::tell_warnings;

use crate::arguments::ProgressMode;
use kiln_engine::Event;
use kiln_plan::Plan;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shows events.
trait Renderer: Send {
    /// Takes an event.
    fn event(&mut self, event: Event);

    /// Time has passed: a live display moves on.
    fn tick(&mut self) {}

    /// No more events come.
    fn finish(&mut self) {}
}

/// Time between two pictures of a live display.
const TICK: Duration = Duration::from_millis(100);

/// Shows events on a thread of its own, so that a slow terminal does not slow the build.
pub struct Progress {
    sender: Mutex<Option<Sender<Event>>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Returns what shows the steps of `plan` as `mode` says.
    pub fn start(mode: ProgressMode, plan: &Plan) -> Self {
        let Some(renderer) = renderer(mode, plan) else {
            return Progress {
                sender: Mutex::new(None),
                thread: None,
            };
        };
        let (sender, receiver) = channel();
        let notices = sender.clone();
        crate::output::show_notices(Some(Box::new(move |text| {
            let text = text.to_owned();
            let _ = notices.send(Event::Notice { text });
        })));
        let thread = std::thread::spawn(move || show(renderer, &receiver));
        Progress {
            sender: Mutex::new(Some(sender)),
            thread: Some(thread),
        }
    }

    /// Shows `event`. May be called from any thread.
    pub fn event(&self, event: Event) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // A display that ended early has nothing more to show.
            let _ = sender.send(event);
        }
    }

    /// Shows what is left and ends.
    pub fn finish(mut self) {
        crate::output::show_notices(None);
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(mut renderer: Box<dyn Renderer>, events: &Receiver<Event>) {
    loop {
        match events.recv_timeout(TICK) {
            Ok(event) => renderer.event(event),
            Err(RecvTimeoutError::Timeout) => renderer.tick(),
            Err(RecvTimeoutError::Disconnected) => return renderer.finish(),
        }
    }
}

fn renderer(mode: ProgressMode, plan: &Plan) -> Option<Box<dyn Renderer>> {
    match mode {
        ProgressMode::Quiet | ProgressMode::None => None,
        ProgressMode::Rawjson => Some(Box::new(rawjson::RawJson::new(plan))),
        ProgressMode::Plain => Some(Box::new(plain::Plain::new(plan))),
        ProgressMode::Tty => Some(Box::new(tty::Terminal::new(plan))),
        ProgressMode::Auto if std::io::stderr().is_terminal() => {
            Some(Box::new(tty::Terminal::new(plan)))
        }
        ProgressMode::Auto => Some(Box::new(plain::Plain::new(plan))),
    }
}
