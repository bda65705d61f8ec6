-- What a plan allows of each meter, as JSON by the meter's name.
ALTER TABLE plans_plans ADD COLUMN meters TEXT NOT NULL DEFAULT '{}';
