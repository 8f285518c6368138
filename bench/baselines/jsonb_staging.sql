-- Documents staged as jsonb, and what makes rows of them.

-- stage --
-- Compressing documents that are read once costs more than it saves.
CREATE TEMP TABLE staged (number serial, is_nano boolean, document jsonb STORAGE EXTERNAL);

-- copy --
COPY staged (is_nano, document) FROM STDIN

-- take_apart --
-- Whatever gets an id gets it from its sequence when it is taken out of its document; these steps run in the order of
-- the documents and, within one, of its arrays. The statistics of the temporary tables keep the planner from loops.
SET LOCAL work_mem = '256MB';

CREATE TEMP TABLE parts AS
SELECT nextval('items_id_seq')::int AS id,
       staged.number,
       staged.is_nano,
       CASE WHEN attack_defense IS NOT NULL THEN nextval('attack_defense_id_seq')::int END AS atkdef_id,
       CASE WHEN animation_mesh IS NOT NULL THEN nextval('animation_mesh_id_seq')::int END AS mesh_id,
       fields.*
FROM staged
CROSS JOIN LATERAL (
    SELECT "AOID" AS aoid, "Name" AS name, "Description" AS description, "StatValues" AS stats,
           "AttackDefenseData" AS attack_defense, "AnimationMesh" AS animation_mesh,
           NULLIF("ActionData" -> 'Actions', 'null') AS actions, "SpellData" AS spell_data,
           NULLIF("ShopHashData" -> 'Items', 'null') AS shelves
    FROM jsonb_to_record(document) AS keys(
        "AOID" int, "Name" text, "Description" text, "StatValues" jsonb, "AttackDefenseData" jsonb,
        "AnimationMesh" jsonb, "ActionData" jsonb, "SpellData" jsonb, "ShopHashData" jsonb)
) AS fields;
ANALYZE parts (id, aoid, number);

-- Of each AOID the last record counts.
DELETE FROM parts p USING parts later WHERE later.aoid = p.aoid AND later.number > p.number;

CREATE TEMP TABLE stats AS
SELECT p.id AS item_id, s.stat, s.value, s.place
FROM parts p
CROSS JOIN LATERAL ROWS FROM (
    jsonb_to_recordset(p.stats) AS ("Stat" int, "RawValue" int)
) WITH ORDINALITY AS s(stat, value, place);
ANALYZE stats;

CREATE TEMP TABLE sides AS
SELECT DISTINCT p.atkdef_id, side.name AS side, s."Stat" AS stat, s."RawValue" AS value
FROM parts p
CROSS JOIN (VALUES ('Attack'), ('Defense')) AS side(name)
CROSS JOIN LATERAL jsonb_to_recordset(NULLIF(p.attack_defense -> side.name, 'null')) AS s("Stat" int, "RawValue" int);

CREATE TEMP TABLE looks AS
SELECT p.mesh_id AS id,
       (p.animation_mesh -> 'Animation' -> 'Stat')::int AS animation_stat,
       (p.animation_mesh -> 'Animation' -> 'RawValue')::int AS animation_value,
       (p.animation_mesh -> 'Mesh' -> 'Stat')::int AS mesh_stat,
       (p.animation_mesh -> 'Mesh' -> 'RawValue')::int AS mesh_value
FROM parts p
WHERE p.mesh_id IS NOT NULL;

CREATE TEMP TABLE new_actions AS
SELECT nextval('actions_id_seq')::int AS id, p.id AS item_id, a."Action" AS action, a."Criteria" AS criteria
FROM parts p
CROSS JOIN LATERAL jsonb_to_recordset(p.actions) AS a("Action" int, "Criteria" jsonb);

CREATE TEMP TABLE action_terms AS
SELECT a.id AS action_id, c.value1, c.value2, c.operator, (c.place - 1)::int AS order_index
FROM new_actions a
CROSS JOIN LATERAL ROWS FROM (
    jsonb_to_recordset(a.criteria) AS ("Value1" int, "Value2" int, "Operator" int)
) WITH ORDINALITY AS c(value1, value2, operator, place);

CREATE TEMP TABLE new_spell_data AS
SELECT nextval('spell_data_id_seq')::int AS id, p.id AS item_id, d."Event" AS event, d."Items" AS spells
FROM parts p
CROSS JOIN LATERAL jsonb_to_recordset(p.spell_data) AS d("Event" int, "Items" jsonb);

CREATE TEMP TABLE new_spells AS
SELECT nextval('spells_id_seq')::int AS id,
       d.id AS spell_data_id,
       fixed.*,
       s.spell - '{Target,TickCount,TickInterval,SpellID,SpellFormat,Criteria}'::text[] AS spell_params
FROM new_spell_data d
CROSS JOIN LATERAL jsonb_array_elements(NULLIF(d.spells, 'null')) AS s(spell)
CROSS JOIN LATERAL jsonb_to_record(s.spell) AS fixed(
    "Target" int, "TickCount" int, "TickInterval" int, "SpellID" int, "SpellFormat" text, "Criteria" jsonb);

CREATE TEMP TABLE spell_terms AS
SELECT DISTINCT s.id AS spell_id, c."Value1" AS value1, c."Value2" AS value2, c."Operator" AS operator
FROM new_spells s
CROSS JOIN LATERAL jsonb_to_recordset(s."Criteria") AS c("Value1" int, "Value2" int, "Operator" int);

CREATE TEMP TABLE new_shelves AS
SELECT nextval('shop_hash_id_seq')::int AS id, p.id AS item_id, h.*
FROM parts p
CROSS JOIN LATERAL jsonb_to_recordset(p.shelves) AS h(
    "Hash" jsonb, "MinLevel" int, "MaxLevel" int, "BaseAmount" int, "RegenAmount" int, "RegenInterval" int,
    "SpawnChance" int);

INSERT INTO stat_values (stat, value)
SELECT stat, value FROM stats
UNION SELECT stat, value FROM sides
UNION SELECT animation_stat, animation_value FROM looks WHERE animation_stat IS NOT NULL
UNION SELECT mesh_stat, mesh_value FROM looks WHERE mesh_stat IS NOT NULL
ON CONFLICT DO NOTHING;

INSERT INTO criteria (value1, value2, operator)
SELECT value1, value2, operator FROM action_terms
UNION SELECT value1, value2, operator FROM spell_terms
ON CONFLICT DO NOTHING;
ANALYZE stat_values, criteria, sides, looks, action_terms, spell_terms;

INSERT INTO attack_defense (id) SELECT atkdef_id FROM parts WHERE atkdef_id IS NOT NULL;

INSERT INTO attack_defense_attack (attack_defense_id, stat_value_id)
SELECT s.atkdef_id, v.id FROM sides s JOIN stat_values v USING (stat, value) WHERE s.side = 'Attack';

INSERT INTO attack_defense_defense (attack_defense_id, stat_value_id)
SELECT s.atkdef_id, v.id FROM sides s JOIN stat_values v USING (stat, value) WHERE s.side = 'Defense';

INSERT INTO animation_mesh (id, animation_id, mesh_id)
SELECT l.id, a.id, m.id
FROM looks l
LEFT JOIN stat_values a ON a.stat = l.animation_stat AND a.value = l.animation_value
LEFT JOIN stat_values m ON m.stat = l.mesh_stat AND m.value = l.mesh_value;

-- The last value of a statistic counts; 54 is the quality level, of items only, and 76 the class.
INSERT INTO items (id, aoid, name, ql, description, item_class, is_nano, atkdef_id, animation_mesh_id)
SELECT p.id, p.aoid, coalesce(p.name, ''),
       CASE WHEN p.is_nano THEN 1 ELSE coalesce(NULLIF(level.value, 0), 1) END,
       coalesce(p.description, ''), coalesce(class.value, 0), p.is_nano, p.atkdef_id, p.mesh_id
FROM parts p
LEFT JOIN (SELECT DISTINCT ON (item_id) item_id, value FROM stats WHERE stat = 54 ORDER BY item_id, place DESC) level
    ON level.item_id = p.id
LEFT JOIN (SELECT DISTINCT ON (item_id) item_id, value FROM stats WHERE stat = 76 ORDER BY item_id, place DESC) class
    ON class.item_id = p.id;

INSERT INTO item_stats (item_id, stat_value_id)
SELECT DISTINCT s.item_id, v.id FROM stats s JOIN stat_values v USING (stat, value);

INSERT INTO actions (id, action, item_id) SELECT id, action, item_id FROM new_actions;

INSERT INTO action_criteria (action_id, criterion_id, order_index)
SELECT t.action_id, c.id, t.order_index FROM action_terms t JOIN criteria c USING (value1, value2, operator);

INSERT INTO spell_data (id, event) SELECT id, event FROM new_spell_data;

INSERT INTO item_spell_data (item_id, spell_data_id) SELECT item_id, id FROM new_spell_data;

INSERT INTO spells (id, target, tick_count, tick_interval, spell_id, spell_format, spell_params)
SELECT id, "Target", "TickCount", "TickInterval", "SpellID", "SpellFormat", spell_params FROM new_spells;

INSERT INTO spell_data_spells (spell_data_id, spell_id) SELECT spell_data_id, id FROM new_spells;

INSERT INTO spell_criteria (spell_id, criterion_id)
SELECT t.spell_id, c.id FROM spell_terms t JOIN criteria c USING (value1, value2, operator);

INSERT INTO shop_hash (id, hash, min_level, max_level, base_amount, regen_amount, regen_interval, spawn_chance)
SELECT id, "Hash" ->> 'Text', "MinLevel", "MaxLevel", "BaseAmount", "RegenAmount", "RegenInterval", "SpawnChance"
FROM new_shelves;

INSERT INTO item_shop_hash (item_id, shop_hash_id) SELECT item_id, id FROM new_shelves;
