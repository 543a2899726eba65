// Times the first half of an import, without building shards: reading lines, sorting them, and merging what was sorted.
//
//     import-probe make LINES SEED           writes text lines with random keys of 21 bytes to standard output
//     import-probe sort FORMAT K FILE...     reads and sorts; prints lines, digest and seconds of each part

import Glibc
import Operations
import ServiceKit
import TallyCore

func say(_ text: String) {
    let line = Array("\(text)\n".utf8)
    _ = write(1, line, line.count)  // a measurement that nobody reads is no loss
}

func make(lines: Int, seed: UInt64) throws(Failure) {
    let output = FileOutput(standardOutputAs: "standard output")
    var random = SplitMix64(seed: seed)
    var text: [UInt8] = []
    for _ in 0..<lines {
        let key = random.next()
        text += "page/".utf8
        let digits = Hex.text((0..<8).map { UInt8(truncatingIfNeeded: key >> (56 - 8 * $0)) })
        text += digits.utf8
        text.append(UInt8(ascii: "\t"))
        DecimalText.append(Int64(truncatingIfNeeded: random.next() % 20_001) - 10_000, to: &text)
        text.append(UInt8(ascii: "\n"))
        if text.count > 1 << 20 {
            try put(text, output)
            text.removeAll(keepingCapacity: true)
        }
    }
    try put(text, output)
}

func put(_ text: [UInt8], _ output: FileOutput) throws(Failure) {
    var failure: Failure?
    text.withUnsafeBytes { bytes in
        do throws(Failure) { try output.write(bytes) } catch { failure = error }
    }
    if let failure { throw failure }
}

func sort(_ format: ImportFormat, partitions: Int, _ files: [String]) throws(Failure) {
    let start = MonotonicClock.milliseconds()
    let sort = ExternalSort(Partitioner(partitions: partitions), folder: "/tmp")
    let reader = ImportReader(format, onError: .stop)
    try reader.read(files) { key, value throws(Failure) in try sort.add(key, value) }
    let read = MonotonicClock.milliseconds()
    let runs = try sort.finish()
    let sorted = MonotonicClock.milliseconds()
    var keys = 0
    for partition in 0..<partitions {
        let source = try runs.source(of: partition)
        while try source.next() { keys += 1 }
    }
    let merged = MonotonicClock.milliseconds()
    say("lines \(reader.accepted) keys \(keys) digest \(runs.digest)")
    say("read \(read - start) ms, sort \(sorted - read) ms, merge \(merged - sorted) ms")
}

let arguments = Array(CommandLine.arguments.dropFirst())
do throws(Failure) {
    if arguments.count == 3, arguments[0] == "make", let lines = Int(arguments[1]), let seed = UInt64(arguments[2]) {
        try make(lines: lines, seed: seed)
    } else if arguments.count > 3, arguments[0] == "sort", let format = ImportFormat(rawValue: arguments[1]),
        let partitions = Int(arguments[2])
    {
        try sort(format, partitions: partitions, Array(arguments.dropFirst(3)))
    } else {
        say("import-probe: see the beginning of its source for what it takes")
        exit(64)
    }
} catch {
    say(error.report)
    exit(error.code.rawValue)
}
