// What the clients were told, identity by identity, and whether the shards agree.
//
// A request has one to three keys of its own, each incremented by one: at the end such a counter is 1 or there is none,
// so a loss and a duplicate cannot cancel out. Shared keys beside them exercise summing; of them only the sum is known.

import TallyCore

struct Oracle {
    struct Increment {
        let key: [UInt8]
        let delta: Int64
    }

    struct Request {
        var increments: [Increment]
        /// The first so many increments have a key of their own.
        var ownKeys: Int
        var isIdempotent: Bool
        var admittedBy: [Int] = []
        /// When it was admitted first.
        var admittedAt: UInt64?
        /// The lines of an import, not of a client.
        var importID: Bytes16?
        var wasAttempted = false
        var wasRefused = false
        /// The highest level that a client was told.
        var told = Level.memory
        /// A mutant told its client that nobody knows.
        var isExcused = false
    }

    /// How an increment's count has to come out.
    enum Fate {
        case counted
        case notCounted
        case unknown
    }

    private(set) var requests: [Request] = []
    private(set) var sharedKeys: Set<[UInt8]> = []
    private var owners: [[UInt8]: Int] = [:]
    var deadNodes: Set<Int> = []
    /// Keys that a rollback took from a list.
    var hit: Set<[UInt8]> = []
    /// The batches of runs in which some may be lost for good, as Redis took them.
    var contents: [BatchID: [UInt8]] = [:]
    /// Own keys of batches that were named as lost, and the sums of shared ones.
    private(set) var namedKeys: Set<[UInt8]> = []
    private(set) var namedSums: [[UInt8]: (least: Int128, most: Int128)] = [:]
    private var named: Set<BatchID> = []
    var refusals = 0
    var acknowledgedIncrements = 0
    var doubleFaults = 0

    subscript(request: Int) -> Request {
        get { requests[request] }
        _modify { yield &requests[request] }
    }

    /// A new request; its number.
    mutating func add(ownKeys: Int, shared: [Increment], isIdempotent: Bool) -> Int {
        let number = requests.count
        var increments: [Increment] = []
        for index in 0..<ownKeys {
            let key = Array("r\(number).\(index)".utf8)
            owners[key] = number
            increments.append(Increment(key: key, delta: 1))
        }
        for increment in shared { sharedKeys.insert(increment.key) }
        requests.append(Request(increments: increments + shared, ownKeys: ownKeys, isIdempotent: isIdempotent))
        return number
    }

    /// The lines of an import; its number.
    mutating func addImport(ownKeys: Int) -> Int {
        let number = add(ownKeys: ownKeys, shared: [], isIdempotent: false)
        requests[number].importID = Bytes16(high: 0x696d_706f_7274, low: UInt64(number))
        return number
    }

    func importRequest(_ id: Bytes16) -> Int? { requests.firstIndex { $0.importID == id } }

    mutating func attempt(_ request: Int) { requests[request].wasAttempted = true }

    mutating func admitted(_ request: Int, by node: Int, now: UInt64) {
        requests[request].admittedBy.append(node)
        if requests[request].admittedAt == nil { requests[request].admittedAt = now }
    }

    func owner(of key: [UInt8]) -> Int? { owners[key] }

    // MARK: Named losses

    /// Somebody was told that the batch is lost.
    mutating func name(_ id: BatchID) {
        guard named.insert(id).inserted, let bytes = contents[id] else { return }
        bytes.withUnsafeBytes { bytes in
            guard let reader = try? BatchReader(bytes) else { return }  // a forger's
            reader.forEach { entry in
                let key = Array(entry.key)
                namedKeys.insert(key)
                let range = namedSums[key] ?? (0, 0)
                let sum = Int128(entry.sum)
                namedSums[key] = (range.least + min(sum, 0), range.most + max(sum, 0))
            }
        }
    }

    func amount(of id: BatchID) -> Amount? {
        contents[id].flatMap { bytes in bytes.withUnsafeBytes { try? BatchReader($0).amount } }  // a forger's
    }

    mutating func acknowledge(_ request: Int, _ level: Level) {
        requests[request].told = max(requests[request].told, level)
    }

    mutating func excuse(key: [UInt8]) {
        if let owner = owners[key] { requests[owner].isExcused = true }
    }

    /// Whether some node that admitted the request is alive.
    func hasLivingHolder(_ request: Request) -> Bool {
        request.admittedBy.contains { !deadNodes.contains($0) }
    }

    func hasDeadHolder(_ request: Request) -> Bool {
        request.admittedBy.contains { deadNodes.contains($0) }
    }

    func fate(of request: Request) -> Fate {
        if request.importID != nil {
            return request.told == .stored ? .counted : request.wasAttempted ? .unknown : .notCounted
        }
        if request.admittedBy.isEmpty { return .notCounted }
        if request.isExcused { return .unknown }
        return request.told >= .queued || hasLivingHolder(request) ? .counted : .unknown
    }
}

extension World {
    /// Compares the shards with what clients were told.
    func check() {
        var found = 0
        for request in oracle.requests { found += checkOwnKeys(of: request) }
        for key in oracle.sharedKeys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            if currentFile(of: key)?.tables.counters[key] != nil { found += 1 }
            checkSum(of: key)
        }
        let counters = topology.partitionIDs.reduce(0) { $0 + (files[$1]?.tables.counters.count ?? 0) }
        if counters != found { bad("\(counters) counters, \(found) of them in their right shard") }
        checkLedgers()
        counts.epoch = epoch
        for node in nodes { add(node.producer.statistics) }
        for partition in topology.partitionIDs { counts.deadLetters += files[partition]?.tables.deadLetters.count ?? 0 }
    }

    private func add(_ statistics: Producer.Statistics) {
        counts.replays += statistics.replays
        counts.gaps += statistics.gaps
        counts.duplicates += statistics.duplicates
    }

    func currentFile(of key: [UInt8]) -> ModelShard? {
        let number = topology.partitioner.partition(ofHash: XXH64.hash(key))
        return files[PartitionID(epoch: epoch, number: UInt32(number))]
    }

    /// Who is told `stored` has nothing to fear from Redis: it is in a file at that moment, not only at the end.
    func checkStored(_ number: Int) {
        let request = oracle[number]
        if request.isExcused { return }
        for increment in request.increments.prefix(request.ownKeys) {
            let isInFile = { (file: ModelShard) in file.tables.counters[increment.key] != nil }
            if files.values.contains(where: isInFile) || replaced.values.contains(where: isInFile) { continue }
            // Where files are thrown away the end shows whether what they held was named.
            if isBuried(increment.key) || remembersBatches { continue }
            bad("told stored, but in no file: \(String(decoding: increment.key, as: UTF8.self))")
        }
    }

    /// Visible in the dead letters, because nobody can decide about it.
    private func isBuried(_ key: [UInt8]) -> Bool {
        // A rebalance may be about to carry it over.
        files.values.contains { $0.tables.deadLetters.contains { $0.key == key && $0.isUndecided } }
    }

    /// The number of the request's keys that have a counter.
    private func checkOwnKeys(of request: Oracle.Request) -> Int {
        var found = 0
        let fate = oracle.fate(of: request)
        if request.told >= .queued { oracle.acknowledgedIncrements += request.increments.count }
        for increment in request.increments.prefix(request.ownKeys) {
            let name = String(decoding: increment.key, as: UTF8.self)
            let file = currentFile(of: increment.key)
            let letters = file?.tables.deadLetters.count { $0.key == increment.key && $0.isUndecided } ?? 0
            if letters > 1 { bad("duplicate: \(name) was buried \(letters) times") }
            guard let count = file?.tables.counters[increment.key] else {
                let isFound = letters > 0 || oracle.namedKeys.contains(increment.key)
                if fate == .counted, !isFound { reportLoss(increment.key, of: request) }
                continue
            }
            found += 1
            if count != 1 { bad("duplicate: \(name) was counted \(count) times") }
            if fate == .notCounted { bad("refused but counted: \(name)") }
        }
        return found
    }

    private func reportLoss(_ key: [UInt8], of request: Oracle.Request) {
        let name = String(decoding: key, as: UTF8.self)
        if oracle.hasLivingHolder(request) {
            bad("lost although its node lives: \(name), told \(request.told)")
        } else if request.told == .queued, oracle.hit.contains(key), oracle.hasDeadHolder(request) {
            oracle.doubleFaults += 1
        } else {
            bad("lost after \(request.told): \(name)")
        }
    }

    /// A shared key's counter and dead letters add up to its increments that count, give or take the unknown ones.
    private func checkSum(of key: [UInt8]) {
        var least: Int128 = 0
        var most: Int128 = 0
        for request in oracle.requests {
            for increment in request.increments where increment.key == key {
                let delta = Int128(increment.delta)
                switch sharedFate(of: request) {
                case .counted:
                    least += delta
                    most += delta
                case .notCounted: break
                case .unknown:
                    least += min(delta, 0)
                    most += max(delta, 0)
                }
            }
        }
        var sum = Int128(currentFile(of: key)?.tables.counters[key] ?? 0)
        for partition in topology.partitionIDs {
            // A rebalance carries dead letters into the new files.
            guard let file = files[partition] else { continue }
            for letter in file.tables.deadLetters where letter.key == key && !file.tables.isReplayed(letter) {
                if letter.isUndecided {
                    least -= max(letter.amount.sum, 0)
                    most -= min(letter.amount.sum, 0)
                } else {
                    sum += letter.amount.sum
                }
            }
        }
        if let named = oracle.namedSums[key] {
            least -= named.most
            most -= named.least
        }
        if sum < least || sum > most {
            bad("\(String(decoding: key, as: UTF8.self)) is \(sum), not \(least)...\(most)")
        }
    }

    /// As `fate`, but a double fault is not seen key by key.
    private func sharedFate(of request: Oracle.Request) -> Oracle.Fate {
        let fate = oracle.fate(of: request)
        let mayBeHit = !mix.faults.isDisjoint(with: [.backPart, .backAll, .flush, .copies])
        if fate == .counted, request.told == .queued, mayBeHit, !oracle.hasLivingHolder(request) { return .unknown }
        return fate
    }

    private var allPartitions: [PartitionID] {
        cluster.earlier.flatMap(\.partitionIDs) + topology.partitionIDs
    }

    /// In every file: through = applied + repeated + dead for each stream of its own, and the counters add up.
    private func checkLedgers() {
        for partition in allPartitions {
            guard let file = files[partition] else { continue }
            var applied: Int128 = file.tables.carried
            for (stream, record) in file.tables.records where stream.partition == partition {
                applied += record.applied.sum
                if record.unaccounted != file.tables.lost(of: stream) {
                    bad("the ledger of \(partition) does not balance")
                }
            }
            checkLosses(of: file)
            if applied != file.total { bad("the counters of \(partition) are \(file.total), applied was \(applied)") }
        }
    }
}
