-- Types
CREATE TABLE ints (a tinyint, b smallint unsigned, c mediumint(5) zerofill, d int, e bigint unsigned, f bool, g boolean NOT NULL, h int1, i int2 unsigned, j int3, k int4, l int8, m middleint, n integer(3) unsigned)
CREATE TABLE serials (a serial, b int)
CREATE TABLE serial2 (a bigint unsigned serial default value, b int)
CREATE TABLE floats (a float, b float(20), c float(25), d float(7,4), e double, f double precision, g real, h float4, i float8, j double(10,2) unsigned, k float unsigned zerofill)
CREATE TABLE decimals (a decimal, b decimal(5), c decimal(65,30), d dec(7,2), e numeric(4,4), f fixed(9,1), g decimal(0), h decimal(10,0) unsigned)
CREATE TABLE times (a date, b time, c time(3), d datetime, e datetime(6), f timestamp NULL, g timestamp(2) NULL DEFAULT NULL, h year, i year(4), j timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, k datetime(3) DEFAULT NOW(3) ON UPDATE NOW(3))
CREATE TABLE chars (a char, b char(0), c character(10), d varchar(10), e character varying(20), f char varying(30), g varcharacter(7), h tinytext, i text, j mediumtext, k longtext, l long, m long varchar, n text(10), o text(300), p text(70000), q text(17000000))
CREATE TABLE nchars (a nchar, b nchar(3), c national char(4), d national varchar(5), e national char varying(6), f nvarchar(7), g nchar varchar(8), h nchar varying(9), i national character(2), j national character varying(3))
CREATE TABLE bins (a binary, b binary(5), c varbinary(7), d tinyblob, e blob, f mediumblob, g longblob, h blob(10), i blob(300), j blob(70000), k long varbinary, l char(3) byte, m varchar(4) byte, n text byte, o char(3) character set binary, p varchar(9) charset binary, q text character set binary, r tinytext character set binary)
CREATE TABLE bits (a bit, b bit(1), c bit(8), d bit(9), e bit(64))
CREATE TABLE sets (a enum('a','b'), b set('x','y','z') NOT NULL, c enum('it''s','a,b','back\\slash','new\nline','tab\t','"q"',''), d enum('  lead','trail   '), e set('é','ü') character set utf8mb4, f enum('a ' , 'b  ') character set binary, g enum("dq""x",'p%q\%r\_s'))
CREATE TABLE enumhex (a enum(x'4142', 0x43, b'01000100'))
CREATE TABLE geo (a geometry, b point, c linestring, d polygon, e multipoint, f multilinestring, g multipolygon, h geometrycollection)
my:CREATE TABLE geo2 (a geomcollection, b point srid 4326 not null, spatial index (b))
my:CREATE TABLE jsons (a json, b json not null default (json_array()), v vector(3), w vector)
ma:CREATE TABLE jsons (a json, b json not null default json_array(), c longtext check (json_valid(c)), d longtext check (json_valid(`d`)), e text check (json_valid(e)), f longtext check (json_valid(f) and 1), g json check (length(g) > 2), h longtext character set utf8mb4 CHECK(JSON_VALID(`h`)), i varchar(10) check (json_valid(i)))
ma:CREATE TABLE inets (a uuid, b inet4, c inet6 not null, d uuid default uuid(), e inet6 default '::1')
ma:CREATE TABLE comp (a text compressed, b varchar(100) compressed, c blob compressed=zlib, d varbinary(50) compressed default '', e longtext compressed)
-- Character sets
CREATE TABLE cs1 (a varchar(10), b varchar(10) character set utf8mb4, c varchar(10) charset latin2, d varchar(10) collate utf8mb4_bin, e char(3) binary, f char(3) ascii, g char(3) unicode, h text charset ucs2, i char(3) character set 'utf8mb4' collate 'utf8mb4_general_ci', j varchar(5) binary character set koi8r)
CREATE TABLE cs2 (a varchar(10), b text) DEFAULT CHARACTER SET utf8mb4
CREATE TABLE cs3 (a varchar(10)) CHARSET=utf8mb3 COLLATE=utf8mb3_bin
CREATE TABLE cs4 (a varchar(10), b enum('x')) COLLATE utf8mb4_unicode_ci ENGINE=InnoDB
CREATE TABLE cs5 (a varchar(10), b char(2), c text, d enum('q','r')) CHARACTER SET binary
CREATE TABLE cs6 (a varchar(10) collate utf8mb3_general_ci, b char(2) character set gbk, c text character set sjis, d text character set utf32, e text charset utf16)
CREATE TABLE cs7 (a varchar(10) charset utf8, b char(2) charset utf8 collate utf8_bin) DEFAULT CHARSET=utf8
CREATE DATABASE schema_differential_2 DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
CREATE TABLE schema_differential_2.t (a varchar(10), b text)
CREATE TABLE `schema_differential_2`.`like_ints` LIKE ints
ALTER DATABASE schema_differential_2 CHARACTER SET latin2
CREATE TABLE schema_differential_2 . u (a varchar(10), b text, c set('a'))
ALTER TABLE schema_differential_2.t ADD COLUMN c varchar(3)
ALTER TABLE schema_differential_2.u ADD COLUMN (d varchar(3), e int)
ALTER SCHEMA schema_differential_2 COLLATE utf8mb4_general_ci
CREATE TABLE schema_differential_2.v (a varchar(10))
CREATE DATABASE IF NOT EXISTS schema_differential_2 CHARACTER SET latin1
CREATE TABLE schema_differential_2.w (a varchar(10))
CREATE SCHEMA schema_differential_3
CREATE TABLE schema_differential_3.t (a varchar(10))
RENAME TABLE schema_differential_3.t TO schema_differential_2.from3
ALTER TABLE schema_differential_2.from3 RENAME schema_differential_3.back
ALTER TABLE schema_differential_3.back RENAME TO schema_differential_3.back2, ADD b int
DROP DATABASE schema_differential_3
-- Keys and constraints
CREATE TABLE k1 (id int primary key, a int)
CREATE TABLE k2 (id int key, a int unique key, b varchar(20) unique, c int auto_increment, key (c))
CREATE TABLE k3 (a int, b int, c int, primary key (c, a), unique key u (b), key k (a, b desc), index using btree (c))
CREATE TABLE k4 (a int, b varchar(100), constraint pk primary key using btree (b(10), a) comment 'key', unique index uu (a), fulltext key ft (b), check (a > 0), constraint ck check (a < 100), constraint check (b <> ''))
CREATE TABLE k5 (a int not null, p int, constraint fk foreign key (a) references k1 (id) on delete cascade on update no action, foreign key fkx (p) references k1 (id) on delete set null, key (a), r int references k1 (id))
CREATE TABLE k6 (a int check (a > 1), b int check (b > 2), c int default 5 comment 'it''s, (a) comment', d varchar(10) default 'a,b)(', e datetime default current_timestamp() on update current_timestamp, f int not null default -1, g bit(3) default b'101', h varchar(3) default x'4142')
my:CREATE TABLE k7 (a int, b varchar(10), index f ((upper(b))), index g ((a + 1), (a * 2) desc), unique index h (a, (lower(b))), primary key (a))
my:CREATE TABLE k8 (a int, b varchar(10) default (concat('a', 'b)')), c json, index f ((upper(b))) invisible, index m ((cast(c->'$.x' as unsigned array))), d int check (d > 0) not enforced, e int visible, f int invisible default 3)
my:ALTER TABLE k8 ADD COLUMN later int, ADD COLUMN first_one int FIRST
my:ALTER TABLE k8 DROP INDEX f
ma:CREATE TABLE k7 (a text, b varchar(200), unique (b), unique (a(10)), key (a(20)))
ma:?CREATE TABLE k9 (a text, b int, unique (a), unique (b, a))
ma:?ALTER TABLE k9 ADD c int
ma:?CREATE TABLE k10 (a varchar(1000) character set utf8mb4 unique)
ma:?CREATE TABLE k11 (a text unique)
ma:CREATE TABLE k12 (a text, b int)
ma:CREATE UNIQUE INDEX i ON k12 (b)
ma:?CREATE UNIQUE INDEX j ON k12 (a)
ma:?DROP INDEX j ON k12
ma:?CREATE TABLE k13 (a int, unique using hash (a))
ma:CREATE TABLE k14 (a varchar(1000) character set utf8mb3 unique, b varchar(255) character set utf8mb4 unique)
-- Generated, invisible
my:CREATE TABLE k6b (b int constraint bb check (b > 2))
my:CREATE TABLE g0 (a int, d int generated always as ((a) + (a)) virtual not null)
CREATE TABLE g1 (a int, b int as (a + 1), c int generated always as (a * 2) stored, d int generated always as ((a) + (b)) virtual, e varchar(20) as (concat('a', ',)')) virtual comment 'x', f int as (a) stored unique key)
ma:CREATE TABLE g2 (a int, b int as (a + 1) persistent, c int invisible, d int as (a) virtual invisible, e int not null default 3 invisible)
my:CREATE TABLE g2 (a int, c int invisible, d int as (a) virtual invisible, e int not null default 3 invisible)
ALTER TABLE g1 ADD h int as (a + 3) stored after a, DROP e
ma:ALTER TABLE g2 MODIFY c int, ADD z int invisible first
my:ALTER TABLE g2 ALTER COLUMN c SET VISIBLE, ALTER a SET INVISIBLE
my:CREATE TABLE g3 (a int, b int)
my:ALTER TABLE g3 ALTER a SET DEFAULT 5, ALTER COLUMN b DROP DEFAULT
-- Versioned tables
ma:CREATE TABLE v1 (a int) WITH SYSTEM VERSIONING
ma:CREATE TABLE v2 (a int, s timestamp(6) generated always as row start invisible, e timestamp(6) generated always as row end, period for system_time (s, e)) with system versioning
ma:CREATE TABLE v3 (a int, b int without system versioning) with system versioning
ma:CREATE TABLE v4 (a int, b int with system versioning)
ma:CREATE TABLE v5 LIKE v1
ma:SET STATEMENT system_versioning_alter_history=KEEP FOR ALTER TABLE v1 ADD COLUMN b varchar(3)
ma:SET STATEMENT system_versioning_alter_history=KEEP FOR ALTER TABLE v1 ADD COLUMN c int FIRST, ADD COLUMN d int AFTER a
ma:ALTER TABLE v1 DROP SYSTEM VERSIONING
ma:ALTER TABLE v1 ADD SYSTEM VERSIONING
ma:SET STATEMENT system_versioning_alter_history=KEEP FOR ALTER TABLE v1 DROP SYSTEM VERSIONING, ADD e int
ma:CREATE TABLE v6 (a int) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION p0 HISTORY, PARTITION pn CURRENT)
ma:CREATE TABLE v7 (x int, b date, e date, period for p (b, e))
ma:?CREATE TABLE v8 (x int, b date, e date, period for p (b, e), primary key (x, p without overlaps))
-- Options, partitions, comments
CREATE TABLE o1 (a int) ENGINE = InnoDB AUTO_INCREMENT=5 COMMENT='a (b), c' ROW_FORMAT=DYNAMIC, STATS_PERSISTENT=0 MAX_ROWS=100 MIN_ROWS = 2 AVG_ROW_LENGTH=9 CHECKSUM=1 INSERT_METHOD=NO DELAY_KEY_WRITE=0 PACK_KEYS=DEFAULT
CREATE TABLE o2 (a int, b int) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10) COMMENT = 'x', PARTITION p1 VALUES LESS THAN MAXVALUE)
CREATE TABLE o3 (a int, b int) ENGINE=InnoDB PARTITION BY HASH (a) PARTITIONS 4
CREATE TABLE o4 (a int, b int)
my:ALTER TABLE o2 EXCHANGE PARTITION p0 WITH TABLE o4 WITHOUT VALIDATION
ma:ALTER TABLE o2 EXCHANGE PARTITION p0 WITH TABLE o4
ALTER TABLE o2 TRUNCATE PARTITION p0
ALTER TABLE o2 REORGANIZE PARTITION p1 INTO (PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN MAXVALUE)
ALTER TABLE o2 DROP PARTITION p0, p1
ALTER TABLE o3 COALESCE PARTITION 2
ALTER TABLE o3 ADD PARTITION PARTITIONS 3
ALTER TABLE o3 REBUILD PARTITION ALL
ALTER TABLE o3 REMOVE PARTITIONING
ALTER TABLE o3 ADD c int PARTITION BY KEY (a) PARTITIONS 2
ALTER TABLE o3 ADD d int, ADD KEY (d) REMOVE PARTITIONING
/* lead */ CREATE /*!32312 TABLE */ `o``5` ( /* not here */ `a b` int /* , c int */, `select` int /*!99999 , no int */, `d.e` varchar(3) ) # tail
CREATE TABLE o6 (a int, /*!40100 b int, */ c int) /*!40100 DEFAULT CHARSET=utf8mb4 */
my:CREATE TABLE o7 (a int /*!80023 INVISIBLE */, b int /*!99999 INVISIBLE */) /*!50100 PARTITION BY HASH (b) PARTITIONS 2 */
ma:CREATE TABLE o7 (a int /*M!100303 INVISIBLE */, b int /*!80023 INVISIBLE */, c int /*M!999999 INVISIBLE */)
CREATE TABLE IF NOT EXISTS o1 (zz int)
CREATE TABLE IF NOT EXISTS o8 (`zz` int,`1a` int,2b int,a$b int,`é` int,ü int, _x int)
ma:CREATE OR REPLACE TABLE o8 (x int)
CREATE TEMPORARY TABLE tmp1 (a int)
CREATE TABLE o9 LIKE o1
CREATE TABLE o10 (LIKE k3)
CREATE TABLE IF NOT EXISTS o10 LIKE o1
?CREATE TABLE o11 SELECT 1 AS x
?CREATE TABLE o12 (a int) SELECT 1 AS a, 2 AS b
?CREATE TABLE o13 (a int) AS SELECT 1 AS a
SET sql_mode='ANSI_QUOTES'
CREATE TABLE "q1" ("a" int, "b""c" varchar(3), `d` enum('x"y'))
SET sql_mode='NO_BACKSLASH_ESCAPES'
CREATE TABLE q2 (a enum('a\','b'), b set("c\"), c varchar(3) default '\')
SET sql_mode='REAL_AS_FLOAT'
CREATE TABLE q3 (a real, b double)
SET sql_mode=''
CREATE TABLE q4 (a real, b varchar(70000), c varchar(20000) character set utf8mb4, d varbinary(70000), e varchar(60000) character set utf8mb4)
SET sql_mode='STRICT_TRANS_TABLES'
-- ALTER
CREATE TABLE a1 (id int primary key, a int, b varchar(10), c text)
ALTER TABLE a1 ADD d int
ALTER TABLE a1 ADD COLUMN e varchar(5) FIRST, ADD f int AFTER a
ALTER TABLE a1 ADD (g int, h varchar(3) not null default '')
ALTER TABLE a1 DROP g, DROP COLUMN h
ALTER TABLE a1 MODIFY b varchar(20) NOT NULL
ALTER TABLE a1 MODIFY COLUMN b varchar(20) AFTER id
ALTER TABLE a1 CHANGE COLUMN b bb bigint unsigned
ALTER TABLE a1 CHANGE bb b int FIRST
ALTER TABLE a1 CHANGE a f int, CHANGE f a varchar(7)
ALTER TABLE a1 RENAME COLUMN d TO dd
ALTER TABLE a1 RENAME COLUMN a TO f, RENAME COLUMN f TO a
ALTER TABLE a1 RENAME COLUMN dd TO d2, ADD COLUMN after_d int AFTER d2
ALTER TABLE a1 ADD x1 int AFTER id, ADD x2 int AFTER x1, ADD x3 int AFTER id, ADD x0 int FIRST
ALTER TABLE a1 MODIFY x3 int FIRST, MODIFY x0 int AFTER x1, ADD y int AFTER x3
ALTER TABLE a1 DROP x3, ADD x3 bigint FIRST
ALTER TABLE a1 DROP PRIMARY KEY, ADD PRIMARY KEY (b, id)
ALTER TABLE a1 MODIFY id bigint
ALTER TABLE a1 CHANGE id key_id bigint AFTER b
my:ALTER TABLE a1 DROP COLUMN b
ma:ALTER TABLE a1 DROP PRIMARY KEY, DROP COLUMN b, ADD PRIMARY KEY (key_id)
ALTER TABLE a1 DROP PRIMARY KEY
ALTER TABLE a1 ADD CONSTRAINT pk PRIMARY KEY (key_id)
ALTER TABLE a1 ADD INDEX i1 (x1), ADD UNIQUE KEY u1 (x2), ADD CONSTRAINT c1 CHECK (x1 > 0), ADD KEY (y)
ALTER TABLE a1 RENAME INDEX i1 TO i2, ALTER COLUMN x1 SET DEFAULT 7
my:ALTER TABLE a1 DROP CHECK c1, ALTER INDEX i2 INVISIBLE
ma:ALTER TABLE a1 DROP CONSTRAINT c1, ALTER INDEX i2 IGNORED
DROP INDEX i2 ON a1
CREATE INDEX i3 ON a1 (y)
CREATE UNIQUE INDEX i4 ON a1 (x3)
my:CREATE INDEX i5 ON a1 ((y + 1))
ALTER TABLE a1 ENGINE=InnoDB
ALTER TABLE a1 COMMENT 'x', AUTO_INCREMENT = 100, ROW_FORMAT=DYNAMIC
ALTER TABLE a1 ADD z int, ALGORITHM=INPLACE, LOCK=NONE
ALTER TABLE a1 ORDER BY y DESC, z
ALTER TABLE a1 FORCE
ALTER TABLE a1 DISABLE KEYS
ALTER TABLE a1 ADD COLUMN `period` int, ADD `system` int, ADD `index` int, ADD `check` int
ALTER TABLE a1 DROP `index`, DROP `check`, MODIFY `period` bigint
DROP INDEX `PRIMARY` ON a1
ALTER TABLE a1 ADD sid serial
ALTER TABLE a1 ADD COLUMN auto2 int comment 'with, comma' unique
ALTER TABLE a1 ADD COLUMN pk2 int NOT NULL DEFAULT 0, ADD FULLTEXT INDEX ft (c)
ma:ALTER IGNORE TABLE a1 ADD ig int
ma:ALTER ONLINE TABLE k12 ADD onl int
ma:ALTER TABLE IF EXISTS a1 WAIT 5 ADD COLUMN IF NOT EXISTS z int, DROP COLUMN IF EXISTS nothing, MODIFY COLUMN IF EXISTS nothing int, CHANGE COLUMN IF EXISTS nothing nothing2 int, ADD COLUMN IF NOT EXISTS newer int FIRST
ma:ALTER TABLE a1 NOWAIT RENAME COLUMN IF EXISTS nothing TO some, DROP INDEX IF EXISTS no_index, DROP CONSTRAINT IF EXISTS no_constraint
ma:ALTER TABLE a1 ADD INDEX IF NOT EXISTS i9 (y), DROP FOREIGN KEY IF EXISTS no_fk
ma:ALTER TABLE IF EXISTS nothing_here ADD a int
ALTER TABLE a1 RENAME a2
ALTER TABLE a2 RENAME AS a3
ALTER TABLE a3 RENAME TO `a 4`, ADD renamed int
RENAME TABLE `a 4` TO tmp_x, k1 TO k1_x, tmp_x TO a5
RENAME TABLE a5 TO swap, k3 TO a5, swap TO k3
-- Character sets in ALTER
CREATE TABLE ae (a enum('é'), b int) CHARSET=latin1
?ALTER TABLE ae CONVERT TO CHARACTER SET utf8mb4
CREATE TABLE ac (a varchar(10), b text, c tinytext, d mediumtext, e longtext, f char(3), g enum('e'), h varchar(200), i blob, j varchar(10) character set utf8mb4) CHARSET=latin1
ALTER TABLE ac CONVERT TO CHARACTER SET utf8mb4
ALTER TABLE ac CONVERT TO CHARSET latin1 COLLATE latin1_bin
ALTER TABLE ac DEFAULT CHARACTER SET utf8mb4
ALTER TABLE ac ADD k varchar(3)
ALTER TABLE ac MODIFY a varchar(10)
ALTER TABLE ac ADD l varchar(4), CHARSET=latin2
ALTER TABLE ac ADD m varchar(4), ADD n text COLLATE utf8mb4_bin, COLLATE latin5_turkish_ci
ALTER TABLE ac CONVERT TO CHARACTER SET utf8mb3, ADD o varchar(5)
ALTER TABLE ac CONVERT TO CHARACTER SET DEFAULT
CREATE TABLE ac2 (a varchar(20000), b varchar(10), c text, d tinytext, e char(5)) CHARSET=latin1
SET sql_mode=''
ALTER TABLE ac2 CONVERT TO CHARACTER SET utf8mb4
SET sql_mode='STRICT_TRANS_TABLES'
CREATE TABLE ac3 (a varchar(10), b char(4), c text) CHARSET=latin1
ALTER TABLE ac3 CONVERT TO CHARACTER SET binary
CREATE TABLE ac4 (a varchar(10), b binary(4), c blob) CHARSET=latin1
ALTER TABLE ac4 CONVERT TO CHARACTER SET utf8mb4, MODIFY a char(5)
CREATE TABLE ac5 (c text, d tinytext, m mediumtext) CHARSET=latin1
ALTER TABLE ac5 CONVERT TO CHARACTER SET ucs2
CREATE TABLE ac6 (c text charset utf8mb4, d tinytext charset ucs2, m mediumtext charset utf8mb3, v varchar(15000) charset utf8mb4) CHARSET=latin1
ALTER TABLE ac6 CONVERT TO CHARACTER SET latin1
ma:ALTER TABLE jsons CONVERT TO CHARACTER SET latin1
ma:ALTER TABLE jsons ADD j json, MODIFY a json, MODIFY c longtext
ma:CREATE TABLE uca (a varchar(10)) COLLATE utf8mb4_uca1400_ai_ci
ma:CREATE TABLE uca2 (a varchar(10)) CHARSET utf8mb4 COLLATE uca1400_ai_ci
ma:CREATE TABLE uca3 (a varchar(10) COLLATE uca1400_as_ci, b text) CHARSET utf8mb4
-- No effect
CREATE VIEW vw AS SELECT 1
CREATE OR REPLACE ALGORITHM=MERGE VIEW vw AS SELECT 2
CREATE TRIGGER tr BEFORE INSERT ON q1 FOR EACH ROW SET @x = 1
CREATE PROCEDURE pr() SELECT 'unbalanced ('
CREATE FUNCTION fu() RETURNS int DETERMINISTIC RETURN 1
DROP FUNCTION fu
DROP PROCEDURE pr
DROP TRIGGER tr
DROP VIEW vw
TRUNCATE TABLE q1
TRUNCATE q3
ANALYZE TABLE q3
ma:?CREATE SEQUENCE sq
ma:ALTER SEQUENCE sq RESTART 5
ma:DROP SEQUENCE sq
DROP TABLE IF EXISTS nothing_here, q1
DROP TABLES q2, schema_differential_2.u RESTRICT
DROP TABLE /* c */ `q3`;
