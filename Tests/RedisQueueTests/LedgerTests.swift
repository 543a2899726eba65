// A list is read as of one moment, in however many pages, whatever is pushed and trimmed between them; and when
// pages do not fit together, that is said.

import RedisQueue
import Simulation
import TestSupport
import Testing

@testable import TallyCore

@Suite struct LedgerTests {
    private func small(_ batches: Int, bytes: Int = 1 << 20) -> LedgerPages {
        var pages = LedgerPages()
        pages.batches = batches
        pages.bytes = bytes
        return pages
    }

    private func ledger(
        _ scene: Scene, _ pages: LedgerPages = LedgerPages(), betweenPages: () -> Void = {}
    ) throws -> QueueLedger<[UInt8]>? {
        let reply = try scene.keys.ledger(of: Scene.partition, pages, betweenPages: betweenPages) { $0 }
        guard case .ledger(let ledger) = reply else { return nil }
        return ledger
    }

    private func expectSame(_ ledger: QueueLedger<[UInt8]>?, _ dump: KeyGroupDump, _ comment: Comment) throws {
        let ledger = try #require(ledger, comment)
        #expect(ledger.entries == dump.queue, comment)
        #expect(ledger.seqs == dump.seqs && ledger.applied == dump.applied, comment)
        #expect(ledger.entryBytes == dump.queue.reduce(0) { $0 + $1.count }, comment)
        #expect("\(ledger.bytes)" == dump.meta["bytes"], comment)
        #expect("\(ledger.shard)" == dump.meta["shard"], comment)
        #expect(ledger.isSealed == (dump.meta["state"] == "sealed"), comment)
    }

    @Test func nothingAndOneAndMany() throws {
        let none = try Scene(creates: false)
        guard case .noTopology = try none.keys.ledger(of: Scene.partition, read: { $0 }) else {
            Issue.record("a group where there is none")
            return
        }
        let scene = try Scene()
        try expectSame(ledger(scene), scene.dump(), "empty")
        for producer in 1...3 as ClosedRange<UInt64> {
            for sequence in 1...7 as ClosedRange<UInt64> {
                #expect(try scene.push(Stream(producer: producer)[sequence]) == .ok(applied: 0))
            }
        }
        for batches in [1, 2, 3, 7, 20, 21, 22] {
            try expectSame(ledger(scene, small(batches)), scene.dump(), "pages of \(batches)")
        }
        try expectSame(ledger(scene, small(100, bytes: 450)), scene.dump(), "pages of 450 bytes")
        try expectSame(ledger(scene, small(100, bytes: 1)), scene.dump(), "an entry larger than a page")
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        try expectSame(ledger(scene), scene.dump(), "sealed")
    }

    @Test func entriesAreCut() throws {
        let scene = try Scene()
        #expect(try scene.push(Stream(bytes: 5_000)[1]) == .ok(applied: 0))
        let ledger = try #require(try ledger(scene, .headers))
        #expect(ledger.entries.map(\.count) == [ClusterKeys.inspectedHeadBytes])
        #expect(ledger.entryBytes == 5_000)
        #expect(try BatchHeader(reading: ledger.entries[0]).id == Stream()[1].id)
    }

    /// It only reads, so a Redis over its maxmemory and a replica answer it; and a wrong type is refused.
    @Test func itChangesNothing() throws {
        let scene = try Scene()
        #expect(try scene.push(Stream()[1]) == .ok(applied: 0))
        try scene.expectUnchanged { _ = try ledger(scene) }
        var command = RedisCommand("FCALL_RO", "tallymill_1_ledger", "4")
        for key in scene.names.group(of: Scene.partition).all { command.append(key) }
        for argument in ["0", "1000", "10", "128"] { command.append(argument) }
        guard case .array = try scene.connection.command(command) else {
            Issue.record("FCALL_RO does not answer")
            return
        }
    }

    /// Random pushes and trims between the pages: what is returned is what Redis holds at the last of them.
    @Test(arguments: 0..<4) func oneMoment(round: Int) throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("ledger pages: round \(round), seed \(seed)")
        var random = SplitMix64(seed: seed)
        let scene = try Scene()
        let claim = try scene.claim()
        var next: [UInt64] = [1, 1, 1]
        func push() throws {
            let producer = random.below(3)
            #expect(try scene.push(Stream(producer: UInt64(producer + 1))[next[producer]]) == .ok(applied: 0))
            next[producer] += 1
        }
        func trim(_ count: Int) throws {
            let batches = try scene.peeked(batches: max(1, count)).batches.map { bytes in
                try bytes.withUnsafeBytes { try BatchHeader(reading: $0).id }
            }
            let request = TrimRequest(token: claim.token, committed: batches, applied: [:])
            #expect(try scene.queue.trim(request) == .trimmed(batches: batches.count))
        }
        for _ in 0..<30 {
            for _ in 0..<random.below(40) { try push() }
            var problem: (any Error)?
            let read = try ledger(scene, small(1 + random.below(5))) {
                do {
                    if random.below(3) > 0 { try push() }
                    if random.below(3) > 0 { try trim(random.below(12)) }
                } catch {
                    problem = error
                }
            }
            if let problem { throw problem }
            try expectSame(read, scene.dump(), "seed \(seed)")
        }
    }

    /// What somebody changes by hand between two pages shows: the pages do not fit, or the figures do not.
    @Test func handsOnTheKeysShow() throws {
        let cut = try handled { scene, group in
            _ = try scene.connection.command(RedisCommand("LTRIM", group.queue, "0", "2"))
        }
        guard case .ledger(let rest) = cut else {
            Issue.record("the tail is cut off: \(cut)")
            return
        }
        #expect(rest.entryBytes < rest.bytes)
        let holed = try handled { scene, group in
            let third = try scene.dump().queue[2]
            var command = RedisCommand("LREM", group.queue, "1")
            command.append(third)
            _ = try scene.connection.command(command)  // how many it removed is seen below
        }
        guard case .ledger(let others) = holed else {
            Issue.record("an entry is deleted: \(holed)")
            return
        }
        #expect(others.entryBytes < others.bytes)
        let forgotten = try handled { scene, group in
            _ = try scene.connection.command(RedisCommand("DEL", group.seqs))
        }
        guard case .ledger(let all) = forgotten else {
            Issue.record("sequences are gone: \(forgotten)")
            return
        }
        #expect(all.seqs.isEmpty && all.entries.count == 12)
        let replaced = try handled { scene, group in
            var command = RedisCommand("LSET", group.queue, "4")
            command.append(Stream(producer: 2)[5].bytes)
            _ = try scene.connection.command(command)
        }
        guard case .torn = replaced else {
            Issue.record("an entry is replaced: \(replaced)")
            return
        }
    }

    /// Reads twelve entries in pages of five, with a hand on the keys after the first of them.
    private func handled(_ hand: (Scene, KeyGroup) throws -> Void) throws -> LedgerReply<[UInt8]> {
        let scene = try Scene()
        for sequence in 1...12 as ClosedRange<UInt64> {
            #expect(try scene.push(Stream()[sequence]) == .ok(applied: 0))
        }
        var pages = 0
        var problem: (any Error)?
        let reply = try scene.keys.ledger(
            of: Scene.partition, small(5),
            betweenPages: {
                pages += 1
                if pages > 1 { return }
                do { try hand(scene, scene.names.group(of: Scene.partition)) } catch { problem = error }
            }, read: { $0 })
        if let problem { throw problem }
        return reply
    }

    @Test func aListThatOutgrowsTheReader() throws {
        let scene = try Scene()
        var sequence: UInt64 = 0
        func push() {
            sequence += 1
            #expect(throws: Never.self) { try scene.push(Stream()[sequence]) }
        }
        for _ in 0..<3 { push() }
        var pages = small(1)
        pages.pagesMax = 20
        let reply = try scene.keys.ledger(of: Scene.partition, pages, betweenPages: { push() }, read: { $0 })
        guard case .torn = reply else {
            Issue.record("\(reply)")
            return
        }
    }
}

extension BatchHeader {
    fileprivate init(reading bytes: [UInt8]) throws {
        self = try bytes.withUnsafeBytes { try BatchHeader(reading: $0) }
    }
}
