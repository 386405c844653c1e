//! Which domains need a certificate, and when each is looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::disk::Disk;
use super::order::{Issuer, OrderError};
use super::report::{DomainReport, Report};
use super::schedule::{ASK_INTERVAL, Lifetime, pause};
use super::store::Store;
use crate::config::Config;
use crate::observe::kind;
use crate::state::Reader;
use crate::tls::{AcmeSettings, Certificate};

/// The longest sleep: the clock of the system may be set, and the machine suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// How long to wait for another Weir that orders.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// When the authority is asked again after it could not be asked whether to renew.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(3600);

/// The domains of the configuration. One order is made at a time.
pub(super) struct Jobs {
    report: Arc<Report>,
    disk: Disk,
    config: Option<Arc<Config>>,
    /// By the files of their certificates.
    domains: BTreeMap<PathBuf, Job>,
    /// By their folders.
    issuers: BTreeMap<PathBuf, Issuer>,
}

struct Job {
    settings: AcmeSettings,
    domain: Box<str>,
    wake: SystemTime,
    failures: u32,
    last_error: Option<String>,
    plan: Option<Plan>,
}

/// What is known about the certificate that exists.
#[derive(Clone, Copy)]
struct Plan {
    lifetime: Lifetime,
    renewal: SystemTime,
    /// When the authority is asked whether to renew; `None` if it cannot be.
    ask: Option<SystemTime>,
    /// Whether it has ever said, so that it wants to know which certificate another replaces.
    is_told: bool,
}

impl Plan {
    fn of(lifetime: Lifetime, now: SystemTime) -> Self {
        Self {
            lifetime,
            renewal: lifetime.renewal(),
            ask: Some(now),
            is_told: false,
        }
    }

    fn wake(&self) -> SystemTime {
        self.ask.map_or(self.renewal, |ask| ask.min(self.renewal))
    }
}

impl Job {
    fn new(settings: &AcmeSettings, domain: &str, now: SystemTime) -> Self {
        Self {
            settings: settings.clone(),
            domain: domain.into(),
            wake: now,
            failures: 0,
            last_error: None,
            plan: None,
        }
    }

    /// Takes over what was found on the disk, and says whether it needs no order now.
    fn is_served(&mut self, found: Option<&Certificate>, now: SystemTime) -> bool {
        let lifetime = found.map(lifetime);
        let known = self.plan.filter(|plan| Some(plan.lifetime) == lifetime);
        self.plan = known.or_else(|| lifetime.map(|lifetime| Plan::of(lifetime, now)));
        self.plan.is_some_and(|plan| now < plan.renewal)
    }
}

fn lifetime(certificate: &Certificate) -> Lifetime {
    Lifetime {
        from: certificate.not_before,
        until: certificate.not_after,
    }
}

impl Jobs {
    pub(super) fn new(report: Arc<Report>) -> Self {
        Self {
            report,
            disk: Disk::default(),
            config: None,
            domains: BTreeMap::new(),
            issuers: BTreeMap::new(),
        }
    }

    /// Follows the snapshots until the publisher ends.
    pub(super) async fn run(mut self, mut reader: Reader) {
        loop {
            let config = Arc::clone(&reader.load().config);
            self.follow(config);
            let now = SystemTime::now();
            if let Some(file) = self.due(now) {
                self.attend(&file, now).await;
                continue;
            }
            let next = self.domains.values().map(|job| job.wake).min();
            let pause = async {
                match next {
                    None => std::future::pending().await,
                    Some(next) => {
                        let left = next.duration_since(now).unwrap_or_default();
                        sleep(left.min(LONGEST_SLEEP)).await;
                    }
                }
            };
            tokio::select! {
                () = pause => {}
                more = reader.changed() => if !more { return },
            }
        }
    }

    /// The domain that has waited longest, if it is time for one.
    fn due(&self, now: SystemTime) -> Option<PathBuf> {
        let due = self.domains.iter().filter(|(_, job)| job.wake <= now);
        due.min_by_key(|(_, job)| job.wake)
            .map(|(file, _)| file.clone())
    }

    /// A domain whose settings are the same keeps its plan and its pause.
    fn follow(&mut self, config: Arc<Config>) {
        if self
            .config
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &config))
        {
            return;
        }
        let now = SystemTime::now();
        let mut before = std::mem::take(&mut self.domains);
        for settings in config.acme() {
            for domain in &settings.domains {
                let file = settings.certificate_file(domain);
                let known = before
                    .remove(&file)
                    .filter(|job| is_same(&job.settings, settings));
                let job = known.unwrap_or_else(|| Job::new(settings, domain, now));
                self.domains.entry(file).or_insert(job);
            }
        }
        let known = &self.domains;
        self.report.retain(|file| known.contains_key(file));
        self.issuers
            .retain(|folder, _| known.values().any(|job| job.settings.folder() == *folder));
        self.config = Some(config);
    }

    /// Looks at a domain: orders, asks whether to, or finds that there is nothing to do.
    async fn attend(&mut self, file: &PathBuf, now: SystemTime) {
        let Some(job) = self.domains.get_mut(file) else {
            return;
        };
        let folder = job.settings.folder();
        let new = || Issuer::new(job.settings.clone(), self.disk.clone());
        let issuer = self.issuers.entry(folder).or_insert_with(new);
        issuer.adapt(&job.settings);
        let report = |job: &Job, state| {
            self.report.set(
                file,
                DomainReport {
                    state,
                    failures: job.failures,
                    last_error: job.last_error.clone(),
                    next_try: job.wake,
                },
            );
        };
        let done = attend(job, issuer, now, &report).await;
        let state = done.unwrap_or_else(|error| {
            job.fail(&error, SystemTime::now());
            "failed"
        });
        report(job, state);
    }
}

/// Which domains are named beside it makes no difference to one.
fn is_same(known: &AcmeSettings, settings: &AcmeSettings) -> bool {
    let settings = AcmeSettings {
        domains: known.domains.clone(),
        ..settings.clone()
    };
    *known == settings
}

/// Returns the state for operators, after it has set when to look again.
async fn attend(
    job: &mut Job,
    issuer: &mut Issuer,
    now: SystemTime,
    report: &(impl Fn(&Job, &'static str) + Sync),
) -> Result<&'static str, OrderError> {
    let found = job.find(issuer).await?;
    if job.is_served(found.as_ref(), now) {
        job.ask(issuer, found.as_ref(), now).await;
        if job.plan.is_some_and(|plan| now < plan.renewal) {
            return Ok(job.rest());
        }
    }
    let Some(_lock) = issuer.on_disk(Store::lock).await? else {
        let jitter = Duration::from_millis(fastrand::u64(..1000));
        job.wake = SystemTime::now() + LOCKED_PAUSE + jitter;
        return Ok("waits for another Weir that orders");
    };
    // Another may have ordered since.
    let found = job.find(issuer).await?;
    if job.is_served(found.as_ref(), now) {
        return Ok(job.rest());
    }
    report(job, "ordering");
    let replaced = found
        .as_ref()
        .filter(|_| job.plan.is_some_and(|plan| plan.is_told));
    let (directory, challenge) = (&job.settings.directory, job.settings.challenge.name());
    info!(
        event = kind::CERTIFICATE,
        domain = &*job.domain,
        directory,
        challenge,
        "ordering a certificate"
    );
    let certificate = issuer.order(&job.domain, replaced).await?;
    (job.failures, job.last_error) = (0, None);
    job.plan = Some(Plan::of(lifetime(&certificate), SystemTime::now()));
    let state = job.rest();
    info!(
        event = kind::CERTIFICATE,
        domain = &*job.domain,
        expires = day(certificate.not_after),
        renewal = job.plan.map(|plan| day(plan.renewal)),
        "a certificate was ordered; handshakes get it once its file is read"
    );
    Ok(state)
}

impl Job {
    /// The certificate on the disk, which another Weir may have ordered.
    async fn find(&self, issuer: &Issuer) -> Result<Option<Certificate>, OrderError> {
        let domain = self.domain.clone();
        issuer
            .on_disk(move |store| store.certificate(&domain))
            .await
    }

    /// Asks the authority when to renew, if it is time to.
    async fn ask(&mut self, issuer: &mut Issuer, found: Option<&Certificate>, now: SystemTime) {
        let (Some(plan), Some(found)) = (&mut self.plan, found) else {
            return;
        };
        if plan.ask.is_none_or(|ask| now < ask) {
            return;
        }
        match issuer.renewal_window(found).await {
            Ok(Some(((start, end), again))) => {
                let window = (time(start), time(end));
                // One that lies within the same window stays where it is.
                if plan.renewal < window.0 || window.1 < plan.renewal || !plan.is_told {
                    plan.renewal = plan.lifetime.renewal_within(window, fastrand::f64());
                }
                plan.is_told = true;
                plan.ask = Some(now + again.clamp(ASK_INTERVAL.0, ASK_INTERVAL.1));
            }
            Ok(None) => plan.ask = None,
            Err(error) => {
                debug!(domain = &*self.domain, %error, "the certificate authority does not say when to renew");
                plan.ask = Some(now + UNANSWERED_PAUSE);
            }
        }
    }

    /// Sets when to look at a certificate that is served.
    fn rest(&mut self) -> &'static str {
        if let Some(plan) = &self.plan {
            self.wake = plan.wake();
        }
        "served"
    }

    fn fail(&mut self, error: &OrderError, now: SystemTime) {
        self.failures = self.failures.saturating_add(1);
        let pause = pause(self.failures, error.is_refusal(), fastrand::f64());
        self.wake = now + pause;
        let error = error.to_string();
        let (domain, failures) = (&*self.domain, self.failures);
        let next = Duration::from_secs(pause.as_secs());
        match &self.plan {
            Some(plan) => {
                let until = day(plan.lifetime.until);
                warn!(
                    event = kind::CERTIFICATE,
                    domain,
                    error,
                    failures,
                    "no certificate was given; the one until {until} is served meanwhile, the next try is in {next:?}"
                );
            }
            None => {
                warn!(
                    event = kind::CERTIFICATE,
                    domain,
                    error,
                    failures,
                    "no certificate was given; handshakes for the host are refused or get another one, the next try is in {next:?}"
                );
            }
        }
        self.last_error = Some(error);
    }
}

/// Of seconds since 1970. What an authority says may be anything.
fn time(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(seconds.clamp(0, i64::from(u32::MAX) * 4).unsigned_abs());
    UNIX_EPOCH + since
}

fn day(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "an impossible time".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}
