//! Replicas that are containers of a local Docker Engine, started and stopped by Weir.
//!
//! As with processes, they end with Weir, a dead one is replaced at once or after a growing
//! wait, and other settings replace them one after another. What a killed Weir has left
//! behind serves on: the next one on the same host finds it by its label, and replaces it by
//! containers of its own like those with other settings.

mod container;
mod member;
mod owner;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::{Allowance, DockerRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::docker_engine::{Doors, Engine, Limits, Meter, Pace, Subject};
use crate::replicas::rollout::{Present, plan};
use crate::replicas::{Fleet, Provider, ProviderError, Replica, ReplicaId, Usage};
use container::{Order, Seen};
use member::{Fate, Life, Member};
use owner::Owner;

/// Runs the replicas of one group as containers. Dropping it leaves them to the next Weir.
#[derive(Debug)]
pub(super) struct Docker {
    group: TargetGroupId,
    owner: Owner,
    engine: Option<Engine>,
    /// `None` until configured.
    settings: Option<Arc<DockerRunner>>,
    allowance: Allowance,
    count: u32,
    /// Who goes first when there are too many.
    victims: Vec<ReplicaId>,
    members: BTreeMap<ReplicaId, Member>,
    next_id: u64,
    jobs: JoinSet<Done>,
    doors: Doors,
    pace: Pace,
    meter: Meter,
    /// Why the last container could not be started: said once.
    complaint: Option<String>,
}

/// What a job has come to.
#[derive(Debug)]
enum Done {
    /// The container was started, or could not be.
    Started(ReplicaId, Engine, Result<(), ProviderError>),
    /// It is gone.
    Stopped(ReplicaId),
}

impl Docker {
    /// No containers yet.
    pub(super) fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            owner: Owner::me(),
            engine: None,
            settings: None,
            allowance: Allowance::default(),
            count: 0,
            victims: Vec::new(),
            members: BTreeMap::new(),
            next_id: 0,
            jobs: JoinSet::new(),
            doors: Doors::default(),
            pace: Pace::default(),
            meter: Meter::default(),
            complaint: None,
        }
    }

    async fn look(&mut self) -> Result<(), ProviderError> {
        let settings = self.settings.clone().ok_or(ProviderError::OtherRunner)?;
        let engine = self.engine.clone().ok_or(ProviderError::OtherRunner)?;
        // Before the list is asked for, which would not have what was started since.
        while let Some(Ok(done)) = self.jobs.try_join_next() {
            self.note(done);
        }
        let seen = container::list(&engine, &self.group.to_string(), &settings).await?;
        self.adopt(&seen, &settings);
        self.compare(seen);
        self.reconcile(&engine, &settings);
        Ok(())
    }

    /// Takes over what a Weir that has ended left behind.
    fn adopt(&mut self, seen: &[Seen], settings: &Arc<DockerRunner>) {
        for container in seen {
            let is_known = self.members.values().any(|m| m.name == container.name);
            let owner = Owner::parse(&container.owner);
            if is_known || !owner.is_some_and(|owner| owner.is_gone()) {
                continue;
            }
            warn!(group = %self.group, container = container.name, "replica of a Weir that has ended, replacing it");
            let id = self.next_id();
            let member = Member::adopted(container.name.clone(), settings.clone());
            self.members.insert(id, member);
        }
    }

    fn next_id(&mut self) -> ReplicaId {
        self.next_id += 1;
        ReplicaId(self.next_id)
    }

    /// Brings the members in line with what the engine lists.
    fn compare(&mut self, seen: Vec<Seen>) {
        let mut seen: BTreeMap<String, Seen> =
            seen.into_iter().map(|c| (c.name.clone(), c)).collect();
        for (id, member) in &mut self.members {
            let found = seen.remove(&member.name);
            let Some(how) = member.compare(found) else {
                let is_open = |address| self.doors.is_open(*id, address);
                member.is_open = member.is_up() && member.address.is_some_and(is_open);
                continue;
            };
            warn!(group = %self.group, replica = member.name, status = how, "replica died, starting another");
            self.doors.forget(*id);
            member.die();
        }
    }

    /// Takes the next step towards the wanted replicas.
    fn reconcile(&mut self, engine: &Engine, settings: &Arc<DockerRunner>) {
        let next = plan(self.count as usize, &self.present(settings), &self.victims);
        for _ in 0..next.start {
            let id = self.next_id();
            let name = self.name(id);
            self.members.insert(id, Member::new(name, settings.clone()));
        }
        for id in next.drain {
            if let Some(member) = self.members.get_mut(&id) {
                member.fate = Fate::Drains;
            }
        }
        for (id, member) in &mut self.members {
            if member.is_to_stop() {
                member.life = Life::Stopping;
                self.jobs.spawn(stop(*id, engine.clone(), member));
            } else if member.is_to_start() {
                member.life = Life::Starting;
                let order = Order {
                    name: member.name.clone(),
                    group: self.group.to_string(),
                    owner: self.owner.to_string(),
                };
                self.jobs.spawn(start(*id, engine.clone(), order, member));
            }
        }
        let members = &self.members;
        self.doors.retain(|id| members.contains_key(&id));
    }

    fn present(&self, settings: &Arc<DockerRunner>) -> Vec<Present> {
        let staying = self.members.iter().filter(|(_, m)| m.stays());
        let present = staying.map(|(id, member)| Present {
            id: *id,
            is_current: !member.is_adopted && Arc::ptr_eq(&member.settings, settings),
            is_running: member.is_serving(),
        });
        present.collect()
    }

    /// The group's name may hold what a container's may not.
    fn name(&self, id: ReplicaId) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let plain = |c| if is_plain(c) { c } else { '-' };
        let group: String = self.group.to_string().chars().map(plain).collect();
        format!("weir-{group}-{}-{}", self.owner.short(), id.0)
    }

    fn note(&mut self, done: Done) {
        self.pace.hurry();
        match done {
            Done::Stopped(id) => {
                self.members.remove(&id);
            }
            Done::Started(id, engine, result) => {
                let Some(member) = self.members.get_mut(&id) else {
                    return;
                };
                match result {
                    _ if member.life == Life::Stopping => {
                        self.jobs.spawn(stop(id, engine, member));
                    }
                    Ok(()) => {
                        info!(group = %self.group, replica = member.name, "container started");
                        member.started();
                        self.complaint = None;
                    }
                    Err(error) => {
                        member.die();
                        self.complain(&error);
                    }
                }
            }
        }
    }

    fn complain(&mut self, error: &ProviderError) {
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            error!(group = %self.group, %error, "cannot start a replica, trying again");
            self.complaint = Some(text);
        }
    }

    /// Stops what runs on an engine that is no longer the one to use.
    fn leave(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        for (id, member) in &mut self.members {
            // One whose start is under way is stopped when that is done.
            if !matches!(member.life, Life::Starting | Life::Stopping) {
                self.jobs.spawn(stop(*id, engine.clone(), member));
            }
            (member.fate, member.life) = (Fate::Goes, Life::Stopping);
        }
    }
}

fn start(
    id: ReplicaId,
    engine: Engine,
    order: Order,
    member: &Member,
) -> impl Future<Output = Done> + Send + 'static {
    let settings = member.settings.clone();
    async move {
        let started = container::start(&engine, &order, &settings).await;
        Done::Started(id, engine, started)
    }
}

fn stop(
    id: ReplicaId,
    engine: Engine,
    member: &Member,
) -> impl Future<Output = Done> + Send + 'static {
    let (name, settings) = (member.name.clone(), member.settings.clone());
    async move {
        container::stop(&engine, &name, &settings).await;
        Done::Stopped(id)
    }
}

#[async_trait]
impl Provider for Docker {
    /// Fails when there is no such image or network, and leaves everything as it is then.
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Docker(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        let before = self.settings.as_deref();
        let engine = match &self.engine {
            Some(engine) if before.is_some_and(|b| b.host == settings.host) => engine.clone(),
            Some(_) | None => Engine::connect(&settings.host).await?,
        };
        container::check(&engine, settings).await?;
        if before.is_some_and(|before| before.host != settings.host) {
            self.leave();
        }
        if self.settings.as_deref() != Some(settings) {
            self.settings = Some(Arc::new(settings.clone()));
        }
        self.engine = Some(engine);
        self.allowance = replicas.allowance;
        self.pace.hurry();
        Ok(())
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        self.count = count;
        self.victims = victims.to_vec();
        self.pace.hurry();
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        let looked = self.look().await;
        if let Err(error) = looked {
            self.pace.fail();
            return Err(error);
        }
        let replicas: Vec<Replica> = self
            .members
            .iter_mut()
            .map(|(id, member)| member.replica(*id))
            .collect();
        let is_settled = self.members.values().all(Member::is_settled);
        self.pace
            .succeed(is_settled && replicas.len() == self.count as usize);
        for member in self.members.values() {
            if let Life::Waiting(until) = member.life {
                self.pace.at_latest(until);
            }
        }
        Ok(Fleet {
            desired: self.count,
            replicas,
        })
    }

    async fn changed(&mut self) {
        // Every arm is cancel-safe, and what the losing ones wait for is not lost.
        tokio::select! {
            () = self.pace.due() => {}
            () = self.doors.opened() => {}
            Some(Ok(done)) = self.jobs.join_next() => self.note(done),
        }
    }

    async fn release(&mut self, replica: ReplicaId) -> Result<(), ProviderError> {
        if let Some(member) = self.members.get_mut(&replica)
            && !member.stays()
        {
            member.fate = Fate::Goes;
            self.pace.hurry();
        }
        Ok(())
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let Some(engine) = self.engine.clone() else {
            return Ok(Vec::new());
        };
        let up = self.members.iter().filter(|(_, member)| member.is_up());
        let subjects: Vec<Subject> = up
            .map(|(id, member)| Subject {
                replica: *id,
                container: member.name.clone(),
                limits: Limits::default(),
            })
            .collect();
        Ok(self.meter.measure(&engine, &subjects, self.allowance).await)
    }

    fn is_own(&self) -> bool {
        true
    }
}
