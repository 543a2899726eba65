// Files that are no text, by their first bytes: whoever gave one meant another format, and a sentence about its first
// line would not say so.

import ServiceKit

/// What a file is that was to be read as lines.
enum ForeignFile {
    case sqlite
    case utf16
    /// With the program that unpacks it.
    case packed(String)

    private typealias Mark = (kind: ForeignFile, offset: Int, bytes: [UInt8])

    private static let marks: [Mark] = [
        (.sqlite, 0, Array("SQLite format 3\0".utf8)), (.utf16, 0, [0xFF, 0xFE]), (.utf16, 0, [0xFE, 0xFF]),
        (.packed("zcat"), 0, [0x1F, 0x8B]), (.packed("zstdcat"), 0, [0x28, 0xB5, 0x2F, 0xFD]),
        (.packed("xzcat"), 0, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]),
        (.packed("unzip -p"), 0, [0x50, 0x4B, 0x03, 0x04]),
        // Behind `BZh` and a digit.
        (.packed("bzcat"), 4, [0x31, 0x41, 0x59, 0x26, 0x53, 0x59]),
    ]

    /// - Parameter beginning: the first bytes of a file, as many as there are.
    init?(_ beginning: UnsafeRawBufferPointer) {
        guard let mark = Self.marks.first(where: { beginning.dropFirst($0.offset).starts(with: $0.bytes) }) else {
            return nil
        }
        self = mark.kind
    }

    /// - Throws: 65 if the bytes are the beginning of such a file.
    static func refuse(
        _ beginning: UnsafeRawBufferPointer, at name: String, readAs format: ImportFormat
    ) throws(Failure) {
        guard let kind = ForeignFile(beginning) else { return }
        let (what, advice) =
            switch kind {
            case .sqlite: ("a file of SQLite", "`--format sqlite` reads it.")
            case .utf16: ("text in UTF-16", "Convert it first: `iconv -f UTF-16 -t UTF-8`.")
            case .packed(let program):
                ("a packed file", "Unpack it with `\(program)`, into `tallymill import --format \(format) -`.")
            }
        throw Failure(
            .corrupt, "it is \(what), not lines of \(format)", at: name, advice: "Nothing was counted. \(advice)")
    }
}
