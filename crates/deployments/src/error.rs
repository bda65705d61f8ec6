//! Why something about services or deployments was not done.

use crate::model::DeploymentState;
use base::Slug;

/// A use case refused, or the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such service in the environment.
    #[error("there is no service {0}")]
    NoService(String),
    /// There is no such deployment.
    #[error("there is no deployment {0}")]
    NoDeployment(String),
    /// The service runs elsewhere, so that nothing here is deployed, scaled or restarted.
    #[error("service {0} runs elsewhere (`urls`): it has no deployments here")]
    Elsewhere(Slug),
    /// The service has no live deployment to work on.
    #[error("service {0} has no live deployment yet")]
    NothingLive(Slug),
    /// What the deployment built is not kept any more.
    #[error("what deployment {0} built is no longer kept: deploy its source again")]
    NotKept(String),
    /// A deployment in this state cannot be gone back to.
    #[error("deployment {id} is {}: only one that has served can be gone back to", .state.as_str())]
    NeverServed {
        /// The deployment.
        id: String,
        /// Its state.
        state: DeploymentState,
    },
    /// The deployment serves already.
    #[error("deployment {0} is live already")]
    LiveAlready(String),
    /// The number of replicas is outside of what the project file allows.
    #[error(
        "{wanted} replicas are outside of {min} to {max}, which `replicas` of service {service} allows; change `replicas` in the project file"
    )]
    Scale {
        /// The service.
        service: Slug,
        /// What was asked for.
        wanted: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// No folder is known to take the source from.
    #[error("no project folder is known to take the source from: name one as `source`")]
    NoSource,
    /// The source cannot be used.
    #[error(transparent)]
    Source(#[from] crate::source::SourceError),
    /// A row cannot be read.
    #[error("the store holds {0} that this binary cannot read")]
    Unreadable(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
