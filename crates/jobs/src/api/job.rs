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

    /// Does something to a job that people ask for. An operator finds it among the installation's own as well.
    async fn on_each_account<B, Q, T, F>(
        call: &Call<B, Q>,
        scope: Scope,
        ask: impl Fn(Scope) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match ask(scope).await {
            Err(Error::NotFound) if call.caller.is_operator() && scope.tenant().is_none() => {
                Ok(ask(Scope::Environment(None)).await?)
            }
            answer => Ok(answer?),
        }
    }
}

pub(crate) async fn get(state: Arc<State>, call: Call) -> Result<Reply<Detail>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let found = State::on_each_account(&call, scope, |account| state.engine.get(account, id)).await?;
    Ok(Reply::ok(found.into()))
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
    let found = State::on_each_account(&call, scope, |account| state.engine.cancel(account, id)).await?;
    Ok(Reply::ok(found.into()))
}

pub(crate) async fn retry(state: Arc<State>, call: Call) -> Result<Reply<Job>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let found = State::on_each_account(&call, scope, |account| state.engine.retry(account, id)).await?;
    Ok(Reply::ok(found.into()))
}
