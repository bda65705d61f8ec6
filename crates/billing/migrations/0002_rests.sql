-- rests_until: the sink asked not to be sent anything before then. tried_at: when a delivery was first tried since it was put on its way.
ALTER TABLE billing_sinks ADD COLUMN rests_until BIGINT;
ALTER TABLE billing_deliveries ADD COLUMN tried_at BIGINT;
