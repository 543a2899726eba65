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
INSERT INTO counters VALUES('c',3,1795834384624);
INSERT INTO counters VALUES('first2',3,1795834384774);
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
INSERT INTO applied VALUES(1,0,X'09726d9e85c7585633ba8726cc3dd5da',1,1,'3',1,'3',0,'0',0,'0');
INSERT INTO applied VALUES(1,0,X'0fee975cad005ff8e94b919eef82fb11',1,1,'3',1,'3',0,'0',0,'0');
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
INSERT INTO idempotency VALUES('import:4ec13f986f0f5e42f2e0e45281d98742','first2',1795834384774);
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
CREATE TABLE meta(
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('carried_increments','0');
INSERT INTO meta VALUES('carried_sum','0');
INSERT INTO meta VALUES('cluster','270517266d9df40a35028996d83221cc');
INSERT INTO meta VALUES('created_ms','1795834384365');
INSERT INTO meta VALUES('epoch','1');
INSERT INTO meta VALUES('hash','xxh64-jump-1');
INSERT INTO meta VALUES('imported_increments','0');
INSERT INTO meta VALUES('imported_sum','0');
INSERT INTO meta VALUES('keys','2');
INSERT INTO meta VALUES('last_commit_ms','1795834384774');
INSERT INTO meta VALUES('partition','0');
INSERT INTO meta VALUES('partitions','2');
INSERT INTO meta VALUES('state','open');
INSERT INTO meta VALUES('sum','6');
INSERT INTO meta VALUES('uuid','8c261b4a900854375f5dfee80b3a240f');
DELETE FROM sqlite_sequence;
CREATE INDEX idempotency_by_age ON idempotency(seen_ms);
COMMIT;
PRAGMA journal_mode = WAL;
