//! Figures of queues and tenants.
