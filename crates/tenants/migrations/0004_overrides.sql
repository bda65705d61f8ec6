-- Those of a plan whose own rate stands in for it are counted without reading all of the plan's tenants. Few have one.
CREATE INDEX tenants_tenants_override ON tenants_tenants (project, plan) WHERE rate_override IS NOT NULL;
