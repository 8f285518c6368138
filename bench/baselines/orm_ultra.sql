-- The shared rows of a batch.

-- insert_stat_values --
-- Those that are not there yet.
INSERT INTO stat_values (stat, value)
SELECT * FROM unnest(%(stat)s::int[], %(value)s::int[])
ON CONFLICT DO NOTHING

-- read_stat_values --
-- The ids of these, whoever made them.
SELECT v.stat, v.value, v.id
FROM stat_values v JOIN unnest(%(stat)s::int[], %(value)s::int[]) AS wanted(stat, value) USING (stat, value)

-- insert_criteria --
-- Those that are not there yet.
INSERT INTO criteria (value1, value2, operator)
SELECT * FROM unnest(%(value1)s::int[], %(value2)s::int[], %(operator)s::int[])
ON CONFLICT DO NOTHING

-- read_criteria --
-- The ids of these, whoever made them.
SELECT c.value1, c.value2, c.operator, c.id
FROM criteria c
JOIN unnest(%(value1)s::int[], %(value2)s::int[], %(operator)s::int[]) AS wanted(value1, value2, operator)
    USING (value1, value2, operator)

-- copy_item_stats --
COPY item_stats (item_id, stat_value_id) FROM STDIN

-- copy_action_criteria --
COPY action_criteria (action_id, criterion_id, order_index) FROM STDIN

-- copy_spell_criteria --
COPY spell_criteria (spell_id, criterion_id) FROM STDIN

-- async_commit --
SET synchronous_commit TO off
