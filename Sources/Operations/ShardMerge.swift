// One view over K shards: their counters in byte order of the keys. No key is in two shards, so the merge only
// interleaves.

import ShardStore

extension CounterCursor: KeyCursor {}

/// Counters of several shards in byte order of their keys.
typealias ShardMerge = KeyMerge<CounterCursor>
