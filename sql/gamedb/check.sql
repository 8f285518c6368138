-- Reads the content of the items database, to be held against the source files. Nothing in here writes.
-- `schema` is where the tables are. A statement with the parameter `items` reads what hangs on these items (their ids),
-- of all where it is NULL; its rows come in the order of the items, so that the streams can be merged as they arrive.

-- prefer_whole_result --
-- The planner thinks that a cursor is closed after a tenth of its rows, and would choose a slow plan that begins fast.
SELECT set_config('cursor_tuple_fraction', '1', true)

-- item_ids --
-- The items with these AOIDs.
SELECT id FROM {schema}.items WHERE aoid = ANY(%(aoids)s::int[])

-- stat_values --
-- All of them, with the ids by which the items' rows refer to them.
SELECT id, stat, value FROM {schema}.stat_values

-- criteria --
-- All of them, with their ids.
SELECT id, value1, value2, operator FROM {schema}.criteria

-- source_types --
-- What the schema seeds.
SELECT name FROM {schema}.source_types

-- mobs --
-- All that a mob is, but for its id.
SELECT name, level, playfield, location, mob_names, is_pocket_boss, metadata::text
FROM {schema}.mobs

-- sources --
-- With the mob each stands for; a source of another type stands for none.
SELECT t.name, s.name, m.name, m.playfield, s.metadata::text
FROM {schema}.sources s
LEFT JOIN {schema}.source_types t ON t.id = s.source_type_id
LEFT JOIN {schema}.mobs m ON t.name = 'mob' AND m.id = s.source_id

-- symbiant_items --
-- The view, as it was refreshed last.
SELECT aoid, name, ql, slot_id, family FROM {schema}.symbiant_items

-- items --
-- Each item with what it has one of. The junctions are grouped first: the plan then does not hang on an index that may
-- be away.
SELECT i.id, i.aoid, i.name, i.ql, i.description, i.item_class, i.is_nano,
       i.atkdef_id, a.stat_values, d.stat_values,
       i.animation_mesh_id, m.animation_id, m.mesh_id,
       p.item_id, p.name, p.perk_series, p.counter, p.type, p.level_required, p.ai_level_required,
       p.professions, p.breeds
FROM {schema}.items i
LEFT JOIN (SELECT attack_defense_id, array_agg(stat_value_id) AS stat_values
           FROM {schema}.attack_defense_attack GROUP BY attack_defense_id) a ON a.attack_defense_id = i.atkdef_id
LEFT JOIN (SELECT attack_defense_id, array_agg(stat_value_id) AS stat_values
           FROM {schema}.attack_defense_defense GROUP BY attack_defense_id) d ON d.attack_defense_id = i.atkdef_id
LEFT JOIN {schema}.animation_mesh m ON m.id = i.animation_mesh_id
LEFT JOIN {schema}.perks p ON p.item_id = i.id
WHERE i.aoid IS NOT NULL AND (%(items)s::int[] IS NULL OR i.id = ANY(%(items)s::int[]))
ORDER BY i.id

-- item_stats --
-- The statistics of each item, as ids, in the order of the items.
SELECT item_id, array_agg(stat_value_id)
FROM {schema}.item_stats
WHERE %(items)s::int[] IS NULL OR item_id = ANY(%(items)s::int[])
GROUP BY item_id
ORDER BY item_id

-- actions --
-- Each action with its criteria in their order, and the order_index of each.
SELECT a.item_id, a.action, c.criteria, c.places
FROM {schema}.actions a
LEFT JOIN (SELECT action_id,
                  array_agg(criterion_id ORDER BY order_index, id) AS criteria,
                  array_agg(order_index ORDER BY order_index, id) AS places
           FROM {schema}.action_criteria GROUP BY action_id) c ON c.action_id = a.id
WHERE a.item_id IS NOT NULL AND (%(items)s::int[] IS NULL OR a.item_id = ANY(%(items)s::int[]))
ORDER BY a.item_id, a.id

-- spells --
-- Each spell of each spell_data; one row without a spell for a spell_data that has none.
SELECT i.item_id, i.spell_data_id, d.event, s.id,
       s.target, s.tick_count, s.tick_interval, s.spell_id, s.spell_format, s.spell_params::text, c.criteria
FROM {schema}.item_spell_data i
LEFT JOIN {schema}.spell_data d ON d.id = i.spell_data_id
LEFT JOIN {schema}.spell_data_spells j ON j.spell_data_id = i.spell_data_id
LEFT JOIN {schema}.spells s ON s.id = j.spell_id
LEFT JOIN (SELECT spell_id, array_agg(criterion_id) AS criteria
           FROM {schema}.spell_criteria GROUP BY spell_id) c ON c.spell_id = s.id
WHERE %(items)s::int[] IS NULL OR i.item_id = ANY(%(items)s::int[])
ORDER BY i.item_id, i.spell_data_id, s.id

-- shop_hash --
-- The shop hashes of each item, in the order of their ids.
SELECT j.item_id, s.hash, s.min_level, s.max_level, s.base_amount, s.regen_amount, s.regen_interval, s.spawn_chance
FROM {schema}.item_shop_hash j
JOIN {schema}.shop_hash s ON s.id = j.shop_hash_id
WHERE %(items)s::int[] IS NULL OR j.item_id = ANY(%(items)s::int[])
ORDER BY j.item_id, s.id

-- item_sources --
-- Where each item comes from, with the names that stand for the ids.
SELECT j.item_id, t.name, s.name, m.name, m.playfield, j.drop_rate, j.min_ql, j.max_ql, j.conditions, j.metadata::text
FROM {schema}.item_sources j
JOIN {schema}.sources s ON s.id = j.source_id
LEFT JOIN {schema}.source_types t ON t.id = s.source_type_id
LEFT JOIN {schema}.mobs m ON t.name = 'mob' AND m.id = s.source_id
WHERE %(items)s::int[] IS NULL OR j.item_id = ANY(%(items)s::int[])
ORDER BY j.item_id

-- rows --
-- How many rows each table has.
SELECT 'stat_values', count(*) FROM {schema}.stat_values
UNION ALL SELECT 'criteria', count(*) FROM {schema}.criteria
UNION ALL SELECT 'attack_defense', count(*) FROM {schema}.attack_defense
UNION ALL SELECT 'attack_defense_attack', count(*) FROM {schema}.attack_defense_attack
UNION ALL SELECT 'attack_defense_defense', count(*) FROM {schema}.attack_defense_defense
UNION ALL SELECT 'animation_mesh', count(*) FROM {schema}.animation_mesh
UNION ALL SELECT 'items', count(*) FROM {schema}.items
UNION ALL SELECT 'item_stats', count(*) FROM {schema}.item_stats
UNION ALL SELECT 'actions', count(*) FROM {schema}.actions
UNION ALL SELECT 'action_criteria', count(*) FROM {schema}.action_criteria
UNION ALL SELECT 'spell_data', count(*) FROM {schema}.spell_data
UNION ALL SELECT 'item_spell_data', count(*) FROM {schema}.item_spell_data
UNION ALL SELECT 'spells', count(*) FROM {schema}.spells
UNION ALL SELECT 'spell_data_spells', count(*) FROM {schema}.spell_data_spells
UNION ALL SELECT 'spell_criteria', count(*) FROM {schema}.spell_criteria
UNION ALL SELECT 'shop_hash', count(*) FROM {schema}.shop_hash
UNION ALL SELECT 'item_shop_hash', count(*) FROM {schema}.item_shop_hash
UNION ALL SELECT 'perks', count(*) FROM {schema}.perks
UNION ALL SELECT 'mobs', count(*) FROM {schema}.mobs
UNION ALL SELECT 'source_types', count(*) FROM {schema}.source_types
UNION ALL SELECT 'sources', count(*) FROM {schema}.sources
UNION ALL SELECT 'item_sources', count(*) FROM {schema}.item_sources

-- orphans --
-- Rows that nothing leads to: what a load leaves behind that lost a parent on the way. Table, what it lacks, how many,
-- the id of the first.
SELECT 'items', 'an AOID', count(*), min(x.id) FROM {schema}.items x
WHERE x.aoid IS NULL
UNION ALL
SELECT 'attack_defense', 'an item', count(*), min(x.id) FROM {schema}.attack_defense x
WHERE NOT EXISTS (SELECT FROM {schema}.items i WHERE i.atkdef_id = x.id)
UNION ALL
SELECT 'animation_mesh', 'an item', count(*), min(x.id) FROM {schema}.animation_mesh x
WHERE NOT EXISTS (SELECT FROM {schema}.items i WHERE i.animation_mesh_id = x.id)
UNION ALL
SELECT 'actions', 'an item', count(*), min(x.id) FROM {schema}.actions x
WHERE NOT EXISTS (SELECT FROM {schema}.items i WHERE i.id = x.item_id)
UNION ALL
SELECT 'action_criteria', 'an action', count(*), min(x.id) FROM {schema}.action_criteria x
WHERE NOT EXISTS (SELECT FROM {schema}.actions a WHERE a.id = x.action_id)
UNION ALL
SELECT 'action_criteria', 'a criterion', count(*), min(x.id) FROM {schema}.action_criteria x
WHERE NOT EXISTS (SELECT FROM {schema}.criteria c WHERE c.id = x.criterion_id)
UNION ALL
SELECT 'spell_data', 'an item', count(*), min(x.id) FROM {schema}.spell_data x
WHERE NOT EXISTS (SELECT FROM {schema}.item_spell_data j WHERE j.spell_data_id = x.id)
UNION ALL
SELECT 'spells', 'a spell_data', count(*), min(x.id) FROM {schema}.spells x
WHERE NOT EXISTS (SELECT FROM {schema}.spell_data_spells j WHERE j.spell_id = x.id)
UNION ALL
SELECT 'shop_hash', 'an item', count(*), min(x.id) FROM {schema}.shop_hash x
WHERE NOT EXISTS (SELECT FROM {schema}.item_shop_hash j WHERE j.shop_hash_id = x.id)
UNION ALL
SELECT 'sources', 'an item', count(*), min(x.id) FROM {schema}.sources x
WHERE NOT EXISTS (SELECT FROM {schema}.item_sources j WHERE j.source_id = x.id)
UNION ALL
SELECT 'mobs', 'a source', count(*), min(x.id) FROM {schema}.mobs x
WHERE NOT EXISTS (SELECT FROM {schema}.sources s JOIN {schema}.source_types t ON t.id = s.source_type_id
                  WHERE t.name = 'mob' AND s.source_id = x.id)
UNION ALL
SELECT 'stat_values', 'anything that refers to it', count(*), min(x.id) FROM {schema}.stat_values x
WHERE NOT EXISTS (SELECT FROM {schema}.item_stats j WHERE j.stat_value_id = x.id)
  AND NOT EXISTS (SELECT FROM {schema}.attack_defense_attack j WHERE j.stat_value_id = x.id)
  AND NOT EXISTS (SELECT FROM {schema}.attack_defense_defense j WHERE j.stat_value_id = x.id)
  AND NOT EXISTS (SELECT FROM {schema}.animation_mesh j WHERE j.animation_id = x.id)
  AND NOT EXISTS (SELECT FROM {schema}.animation_mesh j WHERE j.mesh_id = x.id)
UNION ALL
SELECT 'criteria', 'anything that refers to it', count(*), min(x.id) FROM {schema}.criteria x
WHERE NOT EXISTS (SELECT FROM {schema}.action_criteria j WHERE j.criterion_id = x.id)
  AND NOT EXISTS (SELECT FROM {schema}.spell_criteria j WHERE j.criterion_id = x.id)
