// The external sort against a dictionary: any keys, any order, any number of chunks.

import Operations
import ServiceKit
import Testing

@testable import TallyCore

@Suite struct ExternalSortTests {
    let folder = ScratchFolder()

    /// What comes out of one partition, key by key.
    private func entries(_ runs: SortedRuns, _ partition: Int) throws -> [(key: [UInt8], value: Int64)] {
        let source = try runs.source(of: partition)
        var entries: [(key: [UInt8], value: Int64)] = []
        while try source.next() { entries.append((Array(source.key), source.value)) }
        return entries
    }

    private func sort(
        _ lines: [([UInt8], Int64)], partitions: Int, memoryBytes: Int = ExternalSort.memoryBytes
    ) throws -> SortedRuns {
        let sort = ExternalSort(
            Partitioner(partitions: partitions), folder: folder.path, memoryBytes: memoryBytes)
        for (key, value) in lines {
            var failure: Failure?
            key.withUnsafeBytes { key in
                do throws(Failure) { try sort.add(key, value) } catch { failure = error }
            }
            if let failure { throw failure }
        }
        return try sort.finish()
    }

    /// Keys that share beginnings, differ in one byte, continue one another and come again.
    private func randomLines(_ count: Int, _ random: inout SplitMix64) -> [([UInt8], Int64)] {
        let stems = ["", "a", "page/", String(repeating: "stem", count: 100), "é", "e\u{301}", "12345678"]
        return (0..<count).map { _ in
            let stem = stems.randomElement(using: &random) ?? ""
            let tail = String(UInt64.random(in: 0...3_000, using: &random), radix: 2)
            let value = Int64.random(in: -1_000_000...1_000_000, using: &random)
            return (Array("\(stem)\(tail)".utf8), value)
        }
    }

    @Test(arguments: [(1, 1 << 30), (4, 300_000), (7, 120_000), (1024, 60_000)])
    func againstADictionary(partitions: Int, memoryBytes: Int) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SplitMix64(seed: seed)
        let lines = randomLines(20_000, &random)
        let runs = try sort(lines, partitions: partitions, memoryBytes: min(memoryBytes, ExternalSort.memoryBytes))
        let partitioner = Partitioner(partitions: partitions)
        var sums: [[UInt8]: Int64] = [:]
        for (key, value) in lines { sums[key, default: 0] += value }
        var found: [[UInt8]: Int64] = [:]
        for partition in 0..<partitions {
            let entries = try entries(runs, partition)
            for (index, entry) in entries.enumerated() {
                #expect(partitioner.partition(ofHash: XXH64.hash(entry.key)) == partition, "seed \(seed)")
                if index > 0 {
                    #expect(entries[index - 1].key.lexicographicallyPrecedes(entry.key), "seed \(seed)")
                }
                found[entry.key] = entry.value
            }
            let amount = runs.amounts[partition]
            #expect(entries.reduce(0) { $0 + Int128($1.value) } == amount.sum, "seed \(seed)")
        }
        #expect(found == sums, "seed \(seed)")
        #expect(runs.amounts.reduce(0) { $0 + $1.increments } == 20_000)
        #expect(runs.digest.lines == 20_000)
        // The runs have no names.
        #expect(names(in: folder.path).isEmpty)
    }

    /// Two sources of a partition, and of all partitions, do not disturb one another.
    @Test func sourcesAreIndependent() throws {
        let runs = try sort((0..<100).map { (Array("k\($0)".utf8), 1) }, partitions: 2, memoryBytes: 2_000)
        let one = try runs.source(of: 0)
        #expect(try one.next())
        let again = try entries(runs, 0)
        #expect(Array(one.key) == again[0].key)
        #expect(try again.count + entries(runs, 1).count == 100)
    }

    @Test func nothing() throws {
        let runs = try sort([], partitions: 3)
        for partition in 0..<3 { #expect(try entries(runs, partition).isEmpty) }
        #expect(runs.digest == ImportDigest())
    }

    @Test func theLongestKeysAndTheLastByte() throws {
        let stem = [UInt8](repeating: 0x6B, count: 511)
        let ends = Array(0x21...0x7E as ClosedRange<UInt8>)
        var lines: [([UInt8], Int64)] = ends.reversed().map { (stem + [$0], Int64($0)) }
        lines += [(stem, 1), ([0x6B], 2)]
        let found = try entries(try sort(lines, partitions: 1), 0)
        let keys: [[UInt8]] = [[0x6B], stem] + ends.map { stem + [$0] }
        let values: [Int64] = [2, 1] + ends.map { Int64($0) }
        #expect(found.map(\.key) == keys)
        #expect(found.map(\.value) == values)
    }

    /// A sum beyond 64 bits comes in several entries that carry it together, whatever the order of the lines was.
    @Test func sumsBeyondInt64() throws {
        let key = Array("k".utf8)
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SplitMix64(seed: seed)
        let values: [Int64] = [.max, .max, 5, .min, .max, -7]
        for memory in [1, ExternalSort.memoryBytes] {
            var lines: [([UInt8], Int64)] = values.shuffled(using: &random).map { (key, $0) }
            lines.append((Array("l".utf8), 1))
            let found = try entries(try sort(lines, partitions: 1, memoryBytes: memory), 0)
            #expect(found.map(\.value) == [.max, .max - 3, 1], "seed \(seed)")
            #expect(found.map(\.key) == [key, key, Array("l".utf8)])
        }
        let low = try entries(try sort([(key, .min), (key, .min), (key, -1)], partitions: 1), 0)
        #expect(low.map(\.value) == [.min, .min, -1])
        // What cancels out is one entry again.
        let zero = try entries(try sort([(key, .max), (key, .max), (key, -.max), (key, -.max)], partitions: 1), 0)
        #expect(zero.map(\.value) == [0])
    }

    @Test func theDigestIsThatOfTheContent() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SplitMix64(seed: seed)
        let lines = randomLines(3_000, &random)
        let digest = try sort(lines, partitions: 4).digest
        #expect(try sort(lines.shuffled(using: &random), partitions: 9, memoryBytes: 40_000).digest == digest)
        let longer = try sort(lines + [lines[0]], partitions: 4).digest
        #expect(longer != digest && longer.bytes != digest.bytes, "a line that comes again counts")
        var changed = lines
        changed[17].1 += 1
        #expect(try sort(changed, partitions: 4).digest.bytes != digest.bytes, "seed \(seed)")
        changed = lines
        changed[17].0.append(0x21)
        #expect(try sort(changed, partitions: 4).digest.bytes != digest.bytes, "seed \(seed)")
        // The identity of an import must not change with the release.
        let golden = try sort([(Array("a".utf8), 1), (Array("b".utf8), -2)], partitions: 1).digest
        #expect(golden.description == "400935914834053d5340b815b45ef42b")
    }

    @Test func aFolderThatIsNotThere() throws {
        let sort = ExternalSort(Partitioner(partitions: 1), folder: "\(folder.path)/nowhere")
        let failure = #expect(throws: Failure.self) {
            try Array("k".utf8).withUnsafeBytes { try sort.add($0, 1) }
            _ = try sort.finish()
        }
        #expect(failure?.code == .ioError)
        #expect(failure?.sentence == "\(folder.path)/nowhere/run-0: cannot create: No such file or directory")
    }
}
