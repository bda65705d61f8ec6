//! Routes: path, permission and handler, made in one way only.

use crate::body::{Body, HotBody};
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::{Answer, Reply};
use crate::schema::{BodySchema, QuerySchema, Shapes};
use crate::socket::SocketReply;
use crate::spec::{Access, Spec, Surface};
use authority::Permission;
use futures_util::future::BoxFuture;
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::any::TypeId;
use std::future::Future;
use std::sync::Arc;

/// The routes of one capability.
#[derive(Clone)]
pub struct Routes {
    capability: &'static str,
    routes: Vec<Arc<Route>>,
}

/// A call before its query and body are given their types.
pub(crate) type RawCall = Call<Body, Value>;
/// A handler without its types.
pub(crate) type Handler = Box<dyn Fn(RawCall) -> BoxFuture<'static, Result<Answer, Problem>> + Send + Sync>;

/// One route.
pub(crate) struct Route {
    pub(crate) capability: &'static str,
    pub(crate) spec: Spec,
    pub(crate) body: Arc<BodySchema>,
    pub(crate) query: QuerySchema,
    pub(crate) shapes: Shapes,
    pub(crate) handler: Handler,
}

/// What the access test and the snapshots know of a route.
#[derive(Debug, Clone)]
pub struct RouteMeta {
    /// The capability that has it.
    pub capability: &'static str,
    /// `GET`, `POST` …
    pub method: Method,
    /// With parameters in braces.
    pub path: &'static str,
    /// What a caller needs; `None` for a public route.
    pub permission: Option<Permission>,
    /// Who reaches it.
    pub surface: Surface,
    /// Why it needs no permission; `None` for others.
    pub public: Option<&'static str>,
    /// Whether its permission is asked for in an environment.
    pub in_environment: bool,
    /// Whether it takes a JSON body.
    pub has_body: bool,
}

impl Routes {
    /// No routes yet, of this capability.
    #[must_use]
    pub fn new(capability: &'static str) -> Self {
        Self { capability, routes: Vec::new() }
    }

    /// Adds a route. The handler gets a call that is authenticated, permitted, and parsed into `B` and `Q`; what
    /// `B`'s and `Q`'s schemas do not name is refused before, whatever serde would do with it.
    #[must_use]
    pub fn route<S, B, Q, R, F, Fut>(self, spec: Spec, state: Arc<S>, handler: F) -> Self
    where
        S: Send + Sync + 'static,
        B: DeserializeOwned + JsonSchema + Send + 'static,
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<S>, Call<B, Q>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply<R>, Problem>> + Send + 'static,
    {
        let handler = move |raw: RawCall| -> BoxFuture<'static, Result<Answer, Problem>> {
            let typed = raw.typed::<B, Q>();
            let reply = typed.map(|call| handler(Arc::clone(&state), call));
            Box::pin(async move { reply?.await?.erase().map_err(Problem::internal) })
        };
        let (body, shapes) = (BodySchema::of::<B>(), Shapes::of::<B, Q, R>());
        self.push(spec, (Arc::new(body), QuerySchema::of::<Q>(), shapes), Box::new(handler))
    }

    /// Adds a route that is called very often and whose body is read straight from its text into `B`; only when that
    /// finds anything wrong is the body read as any other, so that all faults are told. Requests that succeed are
    /// counted, but have no record in the log each: the thing that they made or changed is the record.
    #[must_use]
    pub fn hot<S, B, Q, R, F, Fut>(self, mut spec: Spec, state: Arc<S>, handler: F) -> Self
    where
        S: Send + Sync + 'static,
        B: HotBody,
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<S>, Call<B, Q>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply<R>, Problem>> + Send + 'static,
    {
        spec.hot = true;
        let schema = Arc::new(BodySchema::of::<B>());
        let checked = Arc::clone(&schema);
        let handler = move |raw: RawCall| -> BoxFuture<'static, Result<Answer, Problem>> {
            let typed = raw.hot::<B, Q>(&checked);
            let reply = typed.map(|call| handler(Arc::clone(&state), call));
            Box::pin(async move { reply?.await?.erase().map_err(Problem::internal) })
        };
        self.push(spec, (schema, QuerySchema::of::<Q>(), Shapes::of::<B, Q, R>()), Box::new(handler))
    }

    /// Adds a route that is spoken to over a WebSocket. The handler checks everything it can before it gives the
    /// conversation; a client that asks for no WebSocket is refused after that.
    #[must_use]
    pub fn socket<S, Q, F, Fut>(self, mut spec: Spec, state: Arc<S>, handler: F) -> Self
    where
        S: Send + Sync + 'static,
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(Arc<S>, Call<(), Q>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<SocketReply, Problem>> + Send + 'static,
    {
        spec.success = Some(http::StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let handler = move |raw: RawCall| -> BoxFuture<'static, Result<Answer, Problem>> {
            let reply = raw.typed::<(), Q>().map(|call| handler(Arc::clone(&state), call));
            Box::pin(async move { Ok(Answer::socket(reply?.await?)) })
        };
        let schemas = (Arc::new(BodySchema::of::<()>()), QuerySchema::of::<Q>(), Shapes::of::<(), Q, ()>());
        self.push(spec, schemas, Box::new(handler))
    }

    fn push(
        mut self,
        spec: Spec,
        (body, query, shapes): (Arc<BodySchema>, QuerySchema, Shapes),
        handler: Handler,
    ) -> Self {
        let capability = self.capability;
        self.routes.push(Arc::new(Route { capability, spec, body, query, shapes, handler }));
        self
    }

    /// All routes of `more` as well.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.routes.extend(more.routes);
        self
    }

    /// What the access test and the snapshots know of the routes, in order of definition.
    #[must_use]
    pub fn metadata(&self) -> Vec<RouteMeta> {
        self.routes.iter().map(|route| route.metadata()).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}

impl Route {
    fn metadata(&self) -> RouteMeta {
        let (permission, public) = match self.spec.access {
            Access::Needs(permission) => (Some(permission), None),
            Access::Public(reason) => (None, Some(reason)),
        };
        RouteMeta {
            capability: self.capability,
            method: self.spec.method.clone(),
            path: self.spec.path,
            permission,
            surface: self.spec.surface,
            public,
            in_environment: self.spec.in_environment,
            has_body: self.body.is_some(),
        }
    }
}

impl RawCall {
    /// Gives body and query their types. Both were checked against the schemas of these types, so that what
    /// fails here is a rule that a schema cannot say; its text comes from the type's own parser.
    fn typed<B: DeserializeOwned + 'static, Q: DeserializeOwned + 'static>(
        self,
    ) -> Result<Call<B, Q>, Problem> {
        let Self { caller, path, query, body, idempotency, if_match, environment, request } = self;
        let body = crate::body::into_type(unit_as_null::<B>(body.into_value()))?;
        let query = crate::query::into_type(unit_as_null::<Q>(query))?;
        Ok(Call { caller, path, query, body, idempotency, if_match, environment, request })
    }

    /// As [`Self::typed`], with a body that was not looked at yet.
    fn hot<B: HotBody, Q: DeserializeOwned + 'static>(
        self,
        schema: &BodySchema,
    ) -> Result<Call<B, Q>, Problem> {
        let Self { caller, path, query, body, idempotency, if_match, environment, request } = self;
        let body = crate::body::read_hot(&body.into_bytes(), schema)?;
        let query = crate::query::into_type(unit_as_null::<Q>(query))?;
        Ok(Call { caller, path, query, body, idempotency, if_match, environment, request })
    }
}

/// `()` is read from null, whatever stands for "nothing" before.
fn unit_as_null<T: 'static>(value: Value) -> Value {
    if TypeId::of::<T>() == TypeId::of::<()>() { Value::Null } else { value }
}
