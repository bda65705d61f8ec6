//! One job.

use std::sync::Arc;
use std::time::Duration;

use base::{JobId, codes};
use web::{Call, Problem, Reply};

use super::State;
use super::ask::WaitQuery;
use super::views::{Detail, Job};
use crate::model::job::WAIT_MAX;
use crate::{Error, Scope};

/// How long to wait for a job's end where nothing is said.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

impl State {
    /// The job of a call's path and the account.
    pub(crate) async fn job<B, Q>(&self, call: &Call<B, Q>) -> Result<(JobId, Scope), Problem> {
        let scope = self.scope(call).await?;
        Ok((call.path.id("j")?, scope))
    }

    /// The accounts on which a caller looks for a job that people ask for: an operator also among the installation's own.
    fn accounts<B, Q>(call: &Call<B, Q>, scope: Scope) -> Vec<Scope> {
        if call.caller.is_operator() && scope.tenant().is_none() {
            vec![scope, Scope::Environment(None)]
        } else {
            vec![scope]
        }
    }
}

pub(crate) async fn get(state: Arc<State>, call: Call) -> Result<Reply<Detail>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let mut refused = Error::NotFound;
    for account in State::accounts(&call, scope) {
        match state.engine.get(account, id).await {
            Ok(detail) => return Ok(Reply::ok(detail.into())),
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}

pub(crate) async fn wait(state: Arc<State>, call: Call<(), WaitQuery>) -> Result<Reply<Detail>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let up_to = call.query.timeout.map_or(WAIT_DEFAULT, |time| time.0);
    if up_to > WAIT_MAX {
        return Err(Problem::new(&codes::BAD_REQUEST)
            .fault("/query/timeout", "a duration of at most 60s is expected"));
    }
    Ok(Reply::ok(state.engine.wait(scope, id, up_to).await?.into()))
}

pub(crate) async fn cancel(state: Arc<State>, call: Call) -> Result<Reply<Job>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let mut refused = Error::NotFound;
    for account in State::accounts(&call, scope) {
        match state.engine.cancel(account, id).await {
            Ok(view) => return Ok(Reply::ok(view.into())),
            Err(Error::NotFound) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}

pub(crate) async fn retry(state: Arc<State>, call: Call) -> Result<Reply<Job>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let mut refused = Error::NotFound;
    for account in State::accounts(&call, scope) {
        match state.engine.retry(account, id).await {
            Ok(view) => return Ok(Reply::ok(view.into())),
            Err(Error::NotFound) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}
