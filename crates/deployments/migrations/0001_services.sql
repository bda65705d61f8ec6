-- Services as the project file wants them, their deployments, and the replicas that run.
CREATE TABLE deployments_services (
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    managed_by TEXT NOT NULL,
    spec TEXT NOT NULL,
    scale BIGINT,
    live TEXT,
    examine BOOLEAN NOT NULL,
    restarts BIGINT NOT NULL,
    removed BOOLEAN NOT NULL,
    prune BOOLEAN NOT NULL,
    error TEXT,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (environment, name)
) WITHOUT ROWID;

CREATE UNIQUE INDEX deployments_services_id ON deployments_services (id);

CREATE TABLE deployments_deployments (
    id TEXT NOT NULL,
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    service_name TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    origin TEXT,
    spec TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    source_dir TEXT,
    source_digest TEXT,
    build_digest TEXT,
    artefact TEXT,
    built BOOLEAN NOT NULL,
    error TEXT,
    output TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    building_at BIGINT,
    checking_at BIGINT,
    releasing_at BIGINT,
    live_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (id)
) WITHOUT ROWID;

CREATE INDEX deployments_deployments_service ON deployments_deployments (service, id);

CREATE INDEX deployments_deployments_environment ON deployments_deployments (environment, id);

CREATE INDEX deployments_deployments_build ON deployments_deployments (environment, build_digest);

CREATE TABLE deployments_replicas (
    deployment TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    id TEXT NOT NULL,
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    state TEXT NOT NULL,
    port BIGINT,
    restarts BIGINT NOT NULL,
    last_exit TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (deployment, ordinal)
) WITHOUT ROWID;

CREATE INDEX deployments_replicas_service ON deployments_replicas (service);
