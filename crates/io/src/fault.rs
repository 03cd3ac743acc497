//! Faults on purpose, for tests: `action@site:hits[,…]`. Only with the cargo feature `fault`; without it every call here is nothing.
//!
//! Actions: the name of an errno, `short`, `panic`, `alloc`, `sleep=MS`, `kill`, `cuda=OOM|LAUNCH|STICKY`. Hits: `3`, `3+`, `3..5`, counted
//! for each site from 1 since the plan was set.

/// Where a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Site {
    Open,
    Read,
    Write,
    Fsync,
    Rename,
    Mkdir,
    Unlink,
    Chunk,
    Layer,
    Callback,
    Commit,
    Launch,
}

/// What the caller has to act out; panics, sleeps and kills happen by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The operation fails with this number.
    Errno(i32),
    /// Only a part of the bytes is taken.
    Short,
    /// The allocation is refused.
    Alloc,
    /// The device reports this.
    Device(DeviceFault),
}

/// What a simulated device can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// Out of memory.
    OutOfMemory,
    /// A launch failed; the next may work.
    Launch,
    /// The context is dead.
    Sticky,
}

/// Whether this is the fault build.
pub const ENABLED: bool = cfg!(feature = "fault");

#[cfg(feature = "fault")]
pub use plan::{counts, hit, set_plan};

/// Counts a hit of a site; tells what is to go wrong there.
#[cfg(not(feature = "fault"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "without the feature nothing of it may remain")]
pub const fn hit(_site: Site) -> Option<Effect> {
    None
}

#[cfg(feature = "fault")]
mod plan {
    use super::{DeviceFault, Effect, Site};
    use std::collections::BTreeMap;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
    use std::time::Duration;

    /// The environment variable; the published build must not contain its name.
    const VARIABLE: &str = "AQ_FAULT_PLAN";

    #[derive(Debug, Clone, Copy)]
    enum Action {
        Effect(Effect),
        Panic,
        Sleep(u64),
        Kill,
    }

    #[derive(Debug)]
    struct Rule {
        action: Action,
        site: Site,
        first: u64,
        last: u64,
    }

    #[derive(Debug, Default)]
    struct Plan {
        rules: Vec<Rule>,
        hits: BTreeMap<&'static str, u64>,
    }

    fn plan() -> MutexGuard<'static, Plan> {
        static PLAN: OnceLock<Mutex<Plan>> = OnceLock::new();
        let from_environment = || {
            let text = std::env::var(VARIABLE).unwrap_or_default();
            Mutex::new(Plan { rules: parse(&text).unwrap_or_default(), hits: BTreeMap::new() })
        };
        PLAN.get_or_init(from_environment).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the plan and starts counting anew; an empty text means no faults.
    pub fn set_plan(text: &str) -> Result<(), String> {
        let rules = parse(text)?;
        *plan() = Plan { rules, hits: BTreeMap::new() };
        Ok(())
    }

    /// Hits of each site since the plan was set.
    pub fn counts() -> BTreeMap<&'static str, u64> {
        plan().hits.clone()
    }

    /// Counts a hit of a site; tells what is to go wrong there.
    #[track_caller]
    #[expect(clippy::panic, reason = "a panic is what was asked for")]
    pub fn hit(site: Site) -> Option<Effect> {
        let action = {
            let mut plan = plan();
            let count = plan.hits.entry(name(site)).or_default();
            *count += 1;
            let count = *count;
            plan.rules.iter().find(|r| r.site == site && (r.first..=r.last).contains(&count)).map(|r| r.action)
        }?;
        match action {
            Action::Effect(effect) => return Some(effect),
            Action::Panic => std::panic::panic_any(format!("a fault was asked for at {}", name(site))),
            Action::Sleep(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Action::Kill => {
                let _ = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
                std::thread::sleep(Duration::from_secs(60));
            }
        }
        None
    }

    const SITES: [(&str, Site); 12] = [
        ("open", Site::Open),
        ("read", Site::Read),
        ("write", Site::Write),
        ("fsync", Site::Fsync),
        ("rename", Site::Rename),
        ("mkdir", Site::Mkdir),
        ("unlink", Site::Unlink),
        ("chunk", Site::Chunk),
        ("layer", Site::Layer),
        ("callback", Site::Callback),
        ("commit", Site::Commit),
        ("launch", Site::Launch),
    ];

    fn name(site: Site) -> &'static str {
        SITES.iter().find(|(_, s)| *s == site).map_or("", |(name, _)| name)
    }

    fn parse(text: &str) -> Result<Vec<Rule>, String> {
        text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(rule).collect()
    }

    fn rule(text: &str) -> Result<Rule, String> {
        let wrong = || format!("{text:?} is no fault: action@site:hits");
        let (action, place) = text.split_once('@').ok_or_else(wrong)?;
        let (site, hits) = place.split_once(':').ok_or_else(wrong)?;
        let site = SITES.iter().find(|(name, _)| *name == site).ok_or_else(wrong)?.1;
        let number = |t: &str| t.parse::<u64>().map_err(|_| wrong());
        let (first, last) = match (hits.split_once(".."), hits.strip_suffix('+')) {
            (Some((a, b)), _) => (number(a)?, number(b)?),
            (None, Some(a)) => (number(a)?, u64::MAX),
            (None, None) => (number(hits)?, number(hits)?),
        };
        let action = match action {
            "short" => Action::Effect(Effect::Short),
            "alloc" => Action::Effect(Effect::Alloc),
            "panic" => Action::Panic,
            "kill" => Action::Kill,
            "cuda=OOM" => Action::Effect(Effect::Device(DeviceFault::OutOfMemory)),
            "cuda=LAUNCH" => Action::Effect(Effect::Device(DeviceFault::Launch)),
            "cuda=STICKY" => Action::Effect(Effect::Device(DeviceFault::Sticky)),
            other => match other.strip_prefix("sleep=") {
                Some(ms) => Action::Sleep(number(ms)?),
                None => Action::Effect(Effect::Errno(crate::errno::number(other).ok_or_else(wrong)?)),
            },
        };
        Ok(Rule { action, site, first, last })
    }
}
