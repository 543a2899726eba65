// Files around an import: what is no text at all, where skipped lines go, and what is said of what was read.

import ServiceKit
import Testing

@testable import Operations

@Suite struct ImportFilesTests {
    private let folder = ScratchFolder()

    @Test(arguments: [
        ([0xFF, 0xFE, 0x61, 0x00], "text in UTF-16", "Convert it first: `iconv -f UTF-16 -t UTF-8`."),
        ([0xFE, 0xFF, 0x00, 0x61], "text in UTF-16", "Convert it first: `iconv -f UTF-16 -t UTF-8`."),
        (
            [0x1F, 0x8B, 0x08, 0x00], "a packed file",
            "Unpack it with `zcat`, into `tallymill import --format text -`."
        ),
        (
            Array("BZh91AY&SYxxxx".utf8), "a packed file",
            "Unpack it with `bzcat`, into `tallymill import --format text -`."
        ),
    ])
    func whatIsNoText(bytes: [UInt8], what: String, advice: String) throws {
        let file = folder.write(bytes, to: "in")
        let rejects = RejectsFile("\(folder.path)/rejects")
        let failure = #expect(throws: Failure.self) {
            try ImportReader(.text, onError: .skip(rejects)).read([file]) { _, _ throws(Failure) in }
        }
        #expect(failure?.sentence == "\(file): it is \(what), not lines of text")
        #expect(failure?.advice == "Nothing was counted. \(advice)")
        #expect(failure?.code == .corrupt && !folder.exists("rejects"))
    }

    /// Two that run in the same second skip lines.
    @Test func rejectsOfOneSecondHaveNamesOfTheirOwn() throws {
        let file = folder.write("bad\na\t1\n", to: "in")
        let data = DataFolder(folder.path)
        var paths: [String] = []
        for _ in 0..<3 {
            let rejects = RejectsFile(in: data, milliseconds: 1_795_823_579_000)
            try ImportReader(.text, onError: .skip(rejects)).read([file]) { _, _ throws(Failure) in }
            paths.append(rejects.path)
        }
        let stem = "\(folder.path)/import-rejects-20261127T235259Z"
        #expect(paths == ["\(stem).txt", "\(stem)-2.txt", "\(stem)-3.txt"])
        for path in paths { #expect(try FileContent.readIfPresent(path, maximumBytes: 100) == Array("bad\n".utf8)) }
        // A name that was given is not changed.
        let failure = #expect(throws: Failure.self) {
            try ImportReader(.text, onError: .skip(RejectsFile(paths[0]))).read([file]) { _, _ throws(Failure) in }
        }
        #expect(failure?.sentence == "\(paths[0]): there is such a file already")
        #expect(
            failure?.advice == "Nothing was counted. Name another file with --rejects, or move that one away.")
        #expect(failure?.code == .ioError)
    }

    @Test func foldersPutAsideInOneSecondHaveNamesOfTheirOwn() throws {
        let data = DataFolder(folder.path)
        let first = data.newAsidePath(milliseconds: 1_795_823_579_000)
        #expect(first == "\(folder.path)/replaced-20261127T235259Z")
        try Folder.make(first)
        #expect(data.newAsidePath(milliseconds: 1_795_823_579_000) == "\(first)-2")
    }

    @Test func whatWasRead() throws {
        let lines = folder.write("key,value\na,1\n\nb,2\nbad\nc,3\nd,x\ne,4\n", to: "lines")
        let rejects = RejectsFile("\(folder.path)/rejects")
        let skipping = ImportReader(.csv, onError: .skip(rejects))
        try skipping.read([lines]) { _, _ throws(Failure) in }
        #expect(
            ImportText.read(skipping, rejects)
                == "read 8 lines: 4 to count, 2 empty or a header, 2 skipped, which are in \(rejects.path)")
        let plain = ImportReader(.text, onError: .stop)
        try plain.read([folder.write("a\t1\n", to: "one")]) { _, _ throws(Failure) in }
        #expect(ImportText.read(plain, rejects) == "read 1 line")
    }

    @Test func whatBecameOfTheLines() {
        let first = ImportText(lines: 5_000, again: nil)
        let named = ImportText(lines: 1, again: "Monday")
        #expect(first.imported() == "imported 5,000 lines" && named.imported() == "imported 1 line")
        #expect(
            named.imported(dead: 1)
                == "imported 1 line: 1 sum does not fit and is a dead letter (`tallymill dead-letters list`)")
        let known =
            "imported already: of 5,000 lines 0 are new and 5,000 known; nothing is counted twice; if they are"
            + " other counts that happen to be equal, --again NAME counts them"
        #expect(first.doneBefore == known)
        #expect(
            named.doneBefore
                == "imported already: of 1 line 0 are new and 1 known; nothing is counted twice; they were counted"
                + " under the name Monday, and under another they count once more")
        var arrival = Import.Arrival()
        arrival.known = 70
        #expect(first.delivered(arrival) == known)
        (arrival.new, arrival.dead) = (1_000, 2)
        #expect(
            first.delivered(arrival)
                == "imported 5,000 lines: 1,000 sums counted, 70 had been counted before, 2 sums do"
                + " not fit and are dead letters (`tallymill dead-letters list`)"
        )
        (arrival.new, arrival.known, arrival.dead) = (1, 0, 0)
        #expect(named.delivered(arrival) == "imported 1 line: 1 sum counted")
        #expect(first.delivered(nil).hasSuffix("if all were, --again NAME counts them once more"))
    }
}
