PRAGMA page_size = 4096;
PRAGMA user_version = 1;
PRAGMA application_id = 1414361960;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE counters(
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES('a',1,1795834384626);
INSERT INTO counters VALUES('b',2,1795834384626);
INSERT INTO counters VALUES('first0',1,1795834384774);
INSERT INTO counters VALUES('first1',2,1795834384774);
INSERT INTO counters VALUES('first3',4,1795834384774);
INSERT INTO counters VALUES('full',9223372036854775807,1795834384697);
INSERT INTO counters VALUES('order',2,1795834384674);
CREATE TABLE applied(
    epoch INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    producer BLOB NOT NULL,
    watermark INTEGER NOT NULL,
    through_increments INTEGER NOT NULL,
    through_sum TEXT NOT NULL,
    applied_increments INTEGER NOT NULL,
    applied_sum TEXT NOT NULL,
    repeated_increments INTEGER NOT NULL,
    repeated_sum TEXT NOT NULL,
    dead_increments INTEGER NOT NULL,
    dead_sum TEXT NOT NULL,
    PRIMARY KEY(epoch, partition, producer)
) STRICT, WITHOUT ROWID;
INSERT INTO applied VALUES(1,1,X'09726d9e85c7585633ba8726cc3dd5da',1,3,'7',3,'7',0,'0',0,'0');
INSERT INTO applied VALUES(1,1,X'0fee975cad005ff8e94b919eef82fb11',5,6,'9223372036854775822',5,'9223372036854775812',0,'0',1,'10');
CREATE TABLE routed(
    origin_epoch INTEGER NOT NULL,
    origin_partition INTEGER NOT NULL,
    origin_producer BLOB NOT NULL,
    origin_sequence INTEGER NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY(origin_epoch, origin_partition, origin_producer, origin_sequence, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency(
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY(id, key)
) STRICT, WITHOUT ROWID;
INSERT INTO idempotency VALUES('order-1','order',1795834384646);
INSERT INTO idempotency VALUES('order-2','order',1795834384674);
INSERT INTO idempotency VALUES('import:4ec13f986f0f5e42f2e0e45281d98742','first0',1795834384774);
INSERT INTO idempotency VALUES('import:4ec13f986f0f5e42f2e0e45281d98742','first1',1795834384774);
INSERT INTO idempotency VALUES('import:4ec13f986f0f5e42f2e0e45281d98742','first3',1795834384774);
CREATE TABLE dead_letter(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    producer BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    idempotency_id TEXT,
    key TEXT,
    increments INTEGER NOT NULL,
    sum TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;
INSERT INTO dead_letter VALUES(1,1795834384722,'overflow','adding 10 would leave the range of Int64',1,1,X'0fee975cad005ff8e94b919eef82fb11',5,NULL,'full',1,'10',X'');
CREATE TABLE meta(
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('carried_increments','0');
INSERT INTO meta VALUES('carried_sum','0');
INSERT INTO meta VALUES('cluster','270517266d9df40a35028996d83221cc');
INSERT INTO meta VALUES('created_ms','1795834384425');
INSERT INTO meta VALUES('epoch','1');
INSERT INTO meta VALUES('hash','xxh64-jump-1');
INSERT INTO meta VALUES('imported_increments','0');
INSERT INTO meta VALUES('imported_sum','0');
INSERT INTO meta VALUES('keys','7');
INSERT INTO meta VALUES('last_commit_ms','1795834384774');
INSERT INTO meta VALUES('partition','1');
INSERT INTO meta VALUES('partitions','2');
INSERT INTO meta VALUES('state','open');
INSERT INTO meta VALUES('sum','9223372036854775819');
INSERT INTO meta VALUES('uuid','534a76264585b121eeac6ea895fb81fa');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('dead_letter',1);
CREATE INDEX idempotency_by_age ON idempotency(seen_ms);
COMMIT;
PRAGMA journal_mode = WAL;
