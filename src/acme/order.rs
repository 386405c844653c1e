//! One order, from the account to the certificate.

use std::io;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rustls::pki_types::Der;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::challenges::SPREAD_TIME;
use super::client::AcmeClient;
use super::disk::Disk;
use super::store::Store;
use crate::tls::{AcmeSettings, Certificate, CertificateError, Challenge, ChallengeKind};

/// The longest time for an order, whatever the authority does.
const TIMEOUT: Duration = Duration::from_secs(180);

/// How long a validation or a signature is waited for.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .timeout(Duration::from_secs(90));

/// The authority has forgotten the account.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Longest text of an authority in a message, in characters.
const MAX_TEXT: usize = 500;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The authority was not reached, or has refused a request.
    #[error("{}", text(.0))]
    Acme(#[from] instant_acme::Error),
    /// It has not found the proof.
    #[error("the authority could not check that this is the host: {0}")]
    NotProved(String),
    /// It knows no such challenge.
    #[error("the authority does not offer {0}; write another `challenge`")]
    NotOffered(&'static str),
    /// What it has sent is no certificate for the host.
    #[error("the authority's certificate cannot be used: {0}")]
    Unusable(#[from] CertificateError),
    /// The state directory cannot be used.
    #[error("the state directory cannot be used: {0}")]
    Store(#[from] io::Error),
    /// It took too long.
    #[error("the order was not complete within {TIMEOUT:?}")]
    TimedOut,
}

impl OrderError {
    /// Whether the authority has refused, so that another try soon does harm.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Acme(error) => {
                matches!(error, instant_acme::Error::Api(_)) && !self.is_no_account()
            }
            Self::NotProved(_) | Self::NotOffered(_) | Self::Unusable(_) => true,
            Self::Store(_) | Self::TimedOut => false,
        }
    }

    fn is_no_account(&self) -> bool {
        let Self::Acme(instant_acme::Error::Api(problem)) = self else {
            return false;
        };
        problem.r#type.as_deref() == Some(NO_ACCOUNT)
    }
}

/// What the authority says, on one line and not too long.
fn text(error: &instant_acme::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    printable(&text)
}

fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_TEXT).map(printable).collect()
}

/// The account of one folder, which orders are made for.
#[derive(Clone)]
pub(super) struct Issuer {
    settings: AcmeSettings,
    pub(super) store: Store,
    disk: Disk,
    account: Option<Account>,
}

impl Issuer {
    pub(super) fn new(settings: AcmeSettings, disk: Disk) -> Self {
        Self {
            store: Store::new(settings.folder()),
            settings,
            disk,
            account: None,
        }
    }

    /// Goes on with other settings of the same folder.
    pub(super) fn adapt(&mut self, settings: &AcmeSettings) {
        if self.settings != *settings {
            self.settings = settings.clone();
            self.account = None;
        }
    }

    /// Orders a certificate for a domain and writes it to the state directory, whose lock is held.
    /// `replaced` is the one in whose place it comes, if the authority is to know.
    pub(super) async fn order(
        &mut self,
        domain: &str,
        replaced: Option<&Certificate>,
    ) -> Result<Certificate, OrderError> {
        let ordered = timeout(TIMEOUT, self.order_in_time(domain, replaced)).await;
        let ordered = ordered.unwrap_or(Err(OrderError::TimedOut));
        if let Err(error) = &ordered {
            self.account = None;
            if error.is_no_account() {
                warn!(
                    directory = self.settings.directory,
                    "the certificate authority has forgotten the account; another is made"
                );
                self.on_disk(Store::remove_account).await?;
            }
        }
        self.on_disk({
            let domain = domain.to_owned();
            move |store| store.remove_challenge(&domain)
        })
        .await?;
        ordered
    }

    async fn order_in_time(
        &mut self,
        domain: &str,
        replaced: Option<&Certificate>,
    ) -> Result<Certificate, OrderError> {
        let account = self.account().await?;
        let mut order = self.begin(&account, domain, replaced).await?;
        self.prove(&mut order, domain).await?;
        match order.poll_ready(&POLL).await {
            Ok(OrderStatus::Invalid) => return Err(not_proved(&mut order).await),
            Err(instant_acme::Error::Api(problem)) => {
                return Err(OrderError::NotProved(describe(&problem)));
            }
            polled => polled?,
        };
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLL).await?;
        let pem = format!("{key}{chain}");
        let certificate = Certificate::read(domain, pem.as_bytes(), pem.as_bytes(), None)?;
        let domain = domain.to_owned();
        self.on_disk(move |store| store.write_certificate(&domain, &pem))
            .await?;
        Ok(certificate)
    }

    /// An authority that does not know the certificate that is replaced, or has one in its place
    /// already, is not told.
    async fn begin(
        &self,
        account: &Account,
        domain: &str,
        replaced: Option<&Certificate>,
    ) -> Result<Order, OrderError> {
        let identifiers = [Identifier::Dns(domain.to_owned())];
        let wanted = || {
            let order = NewOrder::new(&identifiers);
            match &self.settings.profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        if let Some((authority, serial)) = replaced.and_then(Certificate::identifier) {
            let replaced = identifier(&authority, &serial);
            match account.new_order(&wanted().replaces(replaced)).await {
                Ok(order) => return Ok(order),
                Err(instant_acme::Error::Api(_) | instant_acme::Error::Other(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(account.new_order(&wanted()).await?)
    }

    /// Answers the authority for the domain, unless it knows from before.
    async fn prove(&self, order: &mut Order, domain: &str) -> Result<(), OrderError> {
        let kind = match self.settings.challenge {
            ChallengeKind::Http01 => ChallengeType::Http01,
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(kind.clone());
            let mut challenge =
                challenge.ok_or(OrderError::NotOffered(self.settings.challenge.name()))?;
            let answer = Challenge {
                kind: self.settings.challenge,
                domain: domain.to_owned(),
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
            };
            self.on_disk(move |store| store.write_challenge(&answer))
                .await?;
            sleep(SPREAD_TIME).await;
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// The window in which the authority wants a certificate to be renewed, in seconds since 1970,
    /// and when to ask again; `None` if there is no account to ask by, or none that can ask.
    pub(super) async fn renewal_window(
        &mut self,
        certificate: &Certificate,
    ) -> Result<Option<((i64, i64), Duration)>, OrderError> {
        let Some((authority, serial)) = certificate.identifier() else {
            return Ok(None);
        };
        let Some(account) = self.known_account().await? else {
            return Ok(None);
        };
        match account.renewal_info(&identifier(&authority, &serial)).await {
            Ok((info, again)) => {
                let window = info.suggested_window;
                let window = (window.start.unix_timestamp(), window.end.unix_timestamp());
                Ok(Some((window, again)))
            }
            Err(instant_acme::Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn account(&mut self) -> Result<Account, OrderError> {
        if let Some(account) = self.known_account().await? {
            return Ok(account);
        }
        let settings = &self.settings;
        let contact = settings
            .email
            .as_ref()
            .map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.as_deref().into_iter().collect();
        let account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = settings.external_account.as_ref();
        let external = external
            .map(|account| ExternalAccountKey::new(account.key_id.clone(), &account.hmac_key));
        let client = Box::new(AcmeClient(settings.trust.clone()));
        let created = Account::builder_with_http(client).create(
            &account,
            settings.directory.clone(),
            external.as_ref(),
        );
        let (account, credentials) = created.await?;
        info!(
            directory = settings.directory,
            account = account.id(),
            "an account was made at the certificate authority"
        );
        self.on_disk(move |store| store.write_account(&credentials))
            .await?;
        self.account = Some(account.clone());
        Ok(account)
    }

    /// The account, if it was made before.
    async fn known_account(&mut self) -> Result<Option<Account>, OrderError> {
        if self.account.is_none()
            && let Some(credentials) = self.on_disk(Store::account).await?
        {
            let client = Box::new(AcmeClient(self.settings.trust.clone()));
            let account = Account::builder_with_http(client).from_credentials(credentials);
            self.account = Some(account.await?);
        }
        Ok(self.account.clone())
    }

    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> io::Result<T> + Send + 'static,
    ) -> Result<T, OrderError> {
        let store = self.store.clone();
        Ok(self.disk.run(move || work(&store)).await?)
    }
}

fn identifier(authority: &[u8], serial: &[u8]) -> CertificateIdentifier<'static> {
    CertificateIdentifier::new(Der::from_slice(authority), Der::from_slice(serial)).into_owned()
}

/// What the authority says about the challenges that have failed.
async fn not_proved(order: &mut Order) -> OrderError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            break;
        };
        let mut challenges = state.challenges.iter();
        if let Some(problem) = challenges.find_map(|challenge| challenge.error.as_ref()) {
            return OrderError::NotProved(describe(problem));
        }
    }
    OrderError::NotProved("it does not say why".to_owned())
}

fn describe(problem: &Problem) -> String {
    printable(problem.detail.as_deref().unwrap_or("it does not say why"))
}
