-- The items database. Names are unqualified: run the blocks with search_path set to the schema they are meant for.
-- Run each block's text as it stands; braces in here are JSON, not placeholders.
-- A column is one line, `name type ...`, and a constraint one line after the columns: the DDL is also read by a program.

-- tables --
-- All tables, parents first, so that every foreign key finds its table; then the one table that comes with rows in it.
-- A column is NOT NULL only where the meaning of a row hangs on it: the sources are allowed to know less.

-- Shared by everything that refers to a stat with a value; a pair of numbers stands here once.
CREATE TABLE stat_values (
    id serial,
    stat integer,
    value integer,
    PRIMARY KEY (id),
    UNIQUE (stat, value)
);

-- Shared like stat_values: one term or operator of a postfix expression.
CREATE TABLE criteria (
    id serial,
    value1 integer,
    value2 integer,
    operator integer,
    PRIMARY KEY (id),
    UNIQUE (value1, value2, operator)
);

-- Only an id: what the row says is in the two junctions below, and that it exists at all.
CREATE TABLE attack_defense (
    id serial,
    PRIMARY KEY (id)
);

CREATE TABLE attack_defense_attack (
    attack_defense_id integer,
    stat_value_id integer,
    PRIMARY KEY (attack_defense_id, stat_value_id),
    FOREIGN KEY (attack_defense_id) REFERENCES attack_defense (id) ON DELETE CASCADE,
    FOREIGN KEY (stat_value_id) REFERENCES stat_values (id) ON DELETE CASCADE
);

CREATE TABLE attack_defense_defense (
    attack_defense_id integer,
    stat_value_id integer,
    PRIMARY KEY (attack_defense_id, stat_value_id),
    FOREIGN KEY (attack_defense_id) REFERENCES attack_defense (id) ON DELETE CASCADE,
    FOREIGN KEY (stat_value_id) REFERENCES stat_values (id) ON DELETE CASCADE
);

CREATE TABLE animation_mesh (
    id serial,
    animation_id integer,
    mesh_id integer,
    PRIMARY KEY (id),
    FOREIGN KEY (animation_id) REFERENCES stat_values (id) ON DELETE CASCADE,
    FOREIGN KEY (mesh_id) REFERENCES stat_values (id) ON DELETE CASCADE
);

-- An item or a nano. It outlives its attack_defense and animation_mesh, which describe it and do not own it.
CREATE TABLE items (
    id serial,
    aoid integer,
    name varchar(128) NOT NULL,
    ql integer,
    description varchar(8192),
    item_class integer,
    is_nano boolean DEFAULT false,
    atkdef_id integer,
    animation_mesh_id integer,
    PRIMARY KEY (id),
    FOREIGN KEY (atkdef_id) REFERENCES attack_defense (id) ON DELETE SET NULL,
    FOREIGN KEY (animation_mesh_id) REFERENCES animation_mesh (id) ON DELETE SET NULL
);

CREATE TABLE item_stats (
    item_id integer,
    stat_value_id integer,
    PRIMARY KEY (item_id, stat_value_id),
    FOREIGN KEY (item_id) REFERENCES items (id) ON DELETE CASCADE,
    FOREIGN KEY (stat_value_id) REFERENCES stat_values (id) ON DELETE CASCADE
);

CREATE TABLE actions (
    id serial,
    action integer,
    item_id integer,
    PRIMARY KEY (id),
    FOREIGN KEY (item_id) REFERENCES items (id) ON DELETE CASCADE
);

-- The expression of an action: a criterion may stand in it more than once, so the row has an id and a place of its own.
CREATE TABLE action_criteria (
    id serial,
    action_id integer,
    criterion_id integer,
    order_index integer NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (action_id) REFERENCES actions (id) ON DELETE CASCADE,
    FOREIGN KEY (criterion_id) REFERENCES criteria (id) ON DELETE CASCADE
);

CREATE TABLE spell_data (
    id serial,
    event integer,
    PRIMARY KEY (id)
);

CREATE TABLE item_spell_data (
    item_id integer,
    spell_data_id integer,
    PRIMARY KEY (item_id, spell_data_id),
    FOREIGN KEY (item_id) REFERENCES items (id) ON DELETE CASCADE,
    FOREIGN KEY (spell_data_id) REFERENCES spell_data (id) ON DELETE CASCADE
);

-- spell_id says what the spell does, and with it which keys spell_params has.
CREATE TABLE spells (
    id serial,
    target integer,
    tick_count integer,
    tick_interval integer,
    spell_id integer,
    spell_format varchar(512),
    spell_params jsonb,
    PRIMARY KEY (id)
);

-- spell_id refers to spells.id here, not to spells.spell_id; so it does in spell_criteria.
CREATE TABLE spell_data_spells (
    spell_data_id integer,
    spell_id integer,
    PRIMARY KEY (spell_data_id, spell_id),
    FOREIGN KEY (spell_data_id) REFERENCES spell_data (id) ON DELETE CASCADE,
    FOREIGN KEY (spell_id) REFERENCES spells (id) ON DELETE CASCADE
);

CREATE TABLE spell_criteria (
    spell_id integer,
    criterion_id integer,
    PRIMARY KEY (spell_id, criterion_id),
    FOREIGN KEY (spell_id) REFERENCES spells (id) ON DELETE CASCADE,
    FOREIGN KEY (criterion_id) REFERENCES criteria (id) ON DELETE CASCADE
);

CREATE TABLE shop_hash (
    id serial,
    hash varchar(4) NOT NULL,
    min_level integer,
    max_level integer,
    base_amount integer,
    regen_amount integer,
    regen_interval integer,
    spawn_chance integer,
    PRIMARY KEY (id)
);

CREATE TABLE item_shop_hash (
    item_id integer,
    shop_hash_id integer,
    PRIMARY KEY (item_id, shop_hash_id),
    FOREIGN KEY (item_id) REFERENCES items (id) ON DELETE CASCADE,
    FOREIGN KEY (shop_hash_id) REFERENCES shop_hash (id) ON DELETE CASCADE
);

-- What an item is beyond an item where it is a perk: hence the item's id as the key.
CREATE TABLE perks (
    item_id integer,
    name varchar(128),
    perk_series varchar(128),
    counter integer,
    type varchar(3),
    level_required integer,
    ai_level_required integer,
    professions integer[],
    breeds integer[],
    PRIMARY KEY (item_id),
    FOREIGN KEY (item_id) REFERENCES items (id) ON DELETE CASCADE
);

CREATE TABLE mobs (
    id serial,
    name varchar(255) NOT NULL,
    level integer,
    playfield varchar(100),
    location varchar(255),
    mob_names text[],
    is_pocket_boss boolean DEFAULT true,
    metadata jsonb,
    PRIMARY KEY (id)
);

CREATE TABLE source_types (
    id serial,
    name varchar(50) NOT NULL,
    description text,
    PRIMARY KEY (id),
    UNIQUE (name)
);

-- Where items come from. source_id is the id of a row of the table that the type stands for (for `mob`, of mobs),
-- and so cannot be a foreign key.
CREATE TABLE sources (
    id serial,
    source_type_id integer,
    source_id integer,
    name varchar(255) NOT NULL,
    metadata jsonb DEFAULT '{}',
    PRIMARY KEY (id),
    UNIQUE (source_type_id, source_id),
    FOREIGN KEY (source_type_id) REFERENCES source_types (id) ON DELETE CASCADE
);

CREATE TABLE item_sources (
    item_id integer,
    source_id integer,
    drop_rate numeric(5,2),
    min_ql integer,
    max_ql integer,
    conditions text,
    metadata jsonb DEFAULT '{}',
    PRIMARY KEY (item_id, source_id),
    FOREIGN KEY (item_id) REFERENCES items (id) ON DELETE CASCADE,
    FOREIGN KEY (source_id) REFERENCES sources (id) ON DELETE CASCADE
);

INSERT INTO source_types (name, description) VALUES
    ('item', 'Made of, or found in, another item'),
    ('npc', 'Given by a character that does not fight'),
    ('mob', 'Dropped by a monster'),
    ('mission', 'A mission''s reward'),
    ('vendor', 'Sold in a shop');

-- indexes --
-- What the queries of the backend search by. Each column of a junction that is a foreign key has one, the first
-- column of the primary key too: the backend joins from both sides.
CREATE INDEX idx_attack_defense_attack_attack_defense_id ON attack_defense_attack (attack_defense_id);
CREATE INDEX idx_attack_defense_attack_stat_value_id ON attack_defense_attack (stat_value_id);
CREATE INDEX idx_attack_defense_defense_attack_defense_id ON attack_defense_defense (attack_defense_id);
CREATE INDEX idx_attack_defense_defense_stat_value_id ON attack_defense_defense (stat_value_id);
CREATE INDEX idx_animation_mesh_animation_id ON animation_mesh (animation_id);
CREATE INDEX idx_animation_mesh_mesh_id ON animation_mesh (mesh_id);
CREATE INDEX idx_items_aoid ON items (aoid);
CREATE INDEX idx_items_ql ON items (ql);
CREATE INDEX idx_items_item_class ON items (item_class);
CREATE INDEX idx_items_is_nano ON items (is_nano);
CREATE INDEX idx_items_name ON items USING gin (to_tsvector('english', name));
CREATE INDEX idx_items_atkdef_id ON items (atkdef_id);
CREATE INDEX idx_items_animation_mesh_id ON items (animation_mesh_id);
CREATE INDEX idx_item_stats_item_id ON item_stats (item_id);
CREATE INDEX idx_item_stats_stat_value_id ON item_stats (stat_value_id);
CREATE INDEX idx_actions_item_id ON actions (item_id);
CREATE INDEX idx_action_criteria_action_id ON action_criteria (action_id);
CREATE INDEX idx_action_criteria_criterion_id ON action_criteria (criterion_id);
CREATE INDEX idx_action_criteria_action_id_order_index ON action_criteria (action_id, order_index);
CREATE INDEX idx_spell_data_event ON spell_data (event);
CREATE INDEX idx_item_spell_data_item_id ON item_spell_data (item_id);
CREATE INDEX idx_item_spell_data_spell_data_id ON item_spell_data (spell_data_id);
CREATE INDEX idx_spells_spell_id ON spells (spell_id);
CREATE INDEX idx_spells_target ON spells (target);
CREATE INDEX idx_spells_spell_params ON spells USING gin (spell_params);
-- 53045 modifies a stat: by far the most frequent spell, and looked up by the stat it modifies.
CREATE INDEX idx_spells_spell_params_stat ON spells (((spell_params ->> 'Stat')::int)) WHERE spell_id = 53045;
CREATE INDEX idx_spell_data_spells_spell_data_id ON spell_data_spells (spell_data_id);
CREATE INDEX idx_spell_data_spells_spell_id ON spell_data_spells (spell_id);
CREATE INDEX idx_spell_criteria_spell_id ON spell_criteria (spell_id);
CREATE INDEX idx_spell_criteria_criterion_id ON spell_criteria (criterion_id);
CREATE INDEX idx_shop_hash_hash ON shop_hash (hash);
CREATE INDEX idx_item_shop_hash_item_id ON item_shop_hash (item_id);
CREATE INDEX idx_item_shop_hash_shop_hash_id ON item_shop_hash (shop_hash_id);
CREATE INDEX idx_perks_perk_series ON perks (perk_series);
CREATE INDEX idx_perks_professions ON perks USING gin (professions);
CREATE INDEX idx_perks_breeds ON perks USING gin (breeds);
CREATE INDEX idx_mobs_name ON mobs (name);
CREATE INDEX idx_mobs_playfield ON mobs (playfield);
CREATE INDEX idx_sources_name ON sources (name);
CREATE INDEX idx_sources_metadata ON sources USING gin (metadata);
CREATE INDEX idx_item_sources_item_id ON item_sources (item_id);
CREATE INDEX idx_item_sources_source_id ON item_sources (source_id);

-- views --
-- Symbiants are items that only their names tell apart, as in `Active Ocular Symbiant, Artillery Unit Aban`; stat 298
-- is the slot. An item can have two values of a stat: the greatest is taken, so that it still stands here once.
CREATE MATERIALIZED VIEW symbiant_items AS
SELECT i.id,
       i.aoid,
       i.name,
       i.ql,
       (SELECT max(v.value)
        FROM item_stats s JOIN stat_values v ON v.id = s.stat_value_id
        WHERE s.item_id = i.id AND v.stat = 298) AS slot_id,
       substring(i.name from ', ([A-Za-z]+) Unit [A-Za-z]+$') AS family
FROM items i
WHERE i.is_nano IS NOT TRUE
  AND i.name ~ ', [A-Za-z]+ Unit [A-Za-z]+$';

CREATE UNIQUE INDEX idx_symbiant_items_id ON symbiant_items (id);

-- refresh_views --
-- After an import: what is in the view is a copy.
REFRESH MATERIALIZED VIEW symbiant_items
