// How dead letters read: a table for people, JSON for programs, everything about one for who looks into it.
//
// Keys are quoted as in JSON, so that none can pose as another cell. A line of JSON holds all that there is of a
// letter, also the bytes of a damaged batch if they are asked for: what is dropped can be kept that way.

import ServiceKit
import ShardStore
import TallyCore

/// Texts of dead letters.
public enum DeadLetterWriter {
    /// One letter as a JSON object.
    ///
    /// - Parameter payload: the damaged batch, if it is to be in it.
    public static func json(_ found: FoundDeadLetter, payload: [UInt8]? = nil) -> String {
        let letter = found.letter
        let stream = letter.batch.stream
        let fields = [
            #""id":"\#(found.name)""#, #""time_ms":\#(letter.timeMilliseconds)"#,
            #""reason":"\#(letter.reason.rawValue)""#,
            #""counted":"\#(letter.reason.mayBeCounted ? "unknown" : "no")""#,
            #""detail":\#(JSONText.quote(letter.detail))"#,
            #""key":\#(quoted(letter.key))"#, #""increments":\#(letter.amount.increments)"#,
            #""sum":\#(letter.amount.sum)"#, #""idempotency_key":\#(quoted(letter.idempotencyKey))"#,
            #""batch":{"producer":"\#(stream.producer)","epoch":\#(stream.partition.epoch),"#
                + #""partition":\#(stream.partition.number),"sequence":\#(letter.batch.sequence)}"#,
            #""payload_bytes":\#(letter.payloadBytes)"#,
        ]
        let hex = payload.flatMap { $0.isEmpty ? nil : #","payload":"\#(Hex.text($0))""# } ?? ""
        return "{\(fields.joined(separator: ","))\(hex)}"
    }

    /// Bytes that are not UTF-8 are repaired, so that a damaged file still gives JSON.
    private static func quoted(_ bytes: [UInt8]?) -> String {
        bytes.map { JSONText.quote(String(decoding: $0, as: UTF8.self)) } ?? "null"
    }

    /// Many letters as a table.
    public static func table(_ letters: [FoundDeadLetter]) -> String {
        var table = TextTable([
            .left("ID"), .left("TIME"), .left("REASON"), .right("INCREMENTS"), .right("SUM"), .left("KEY"),
            .left("BATCH"),
        ])
        for found in letters {
            let letter = found.letter
            table.add([
                "\(found.name)", Timestamp.rfc3339(milliseconds: Int64(clamping: letter.timeMilliseconds)),
                letter.reason.rawValue, "\(letter.amount.increments)", "\(letter.amount.sum)",
                letter.key.map { quoted($0) } ?? "-", "\(letter.batch)",
            ])
        }
        return table.text
    }

    /// Everything about one letter.
    public static func details(_ found: FoundDeadLetter, payload: [UInt8]) -> String {
        let letter = found.letter
        var lines = [
            ("id", "\(found.name)"),
            ("time", Timestamp.rfc3339(milliseconds: Int64(clamping: letter.timeMilliseconds))),
            ("reason", "\(letter.reason.rawValue): \(letter.detail)"), ("meaning", letter.reason.meaning),
            ("key", letter.key.map { quoted($0) } ?? "unknown"),
            ("increments", "\(letter.amount.increments)"), ("sum", "\(letter.amount.sum)"),
            ("idempotency key", letter.idempotencyKey.map { quoted($0) } ?? "none"),
            ("producer", "\(letter.batch.stream.producer)"), ("partition", "\(letter.batch.stream.partition)"),
            ("sequence", "\(letter.batch.sequence)"),
        ]
        if !payload.isEmpty { lines += header(of: payload) }
        let width = lines.map(\.0.count).max() ?? 0
        let text = lines.map { name, value in
            "\(name)\(String(repeating: " ", count: width - name.count))  \(value)\n"
        }.joined()
        return payload.isEmpty ? text : "\(text)\n\(hexDump(payload))"
    }

    /// What the header of a damaged batch says, as far as it can be read.
    private static func header(of payload: [UInt8]) -> [(String, String)] {
        var lines = [("batch", Humanized.bytes(payload.count))]
        payload.withUnsafeBytes { bytes in
            do throws(BatchError) {
                let header = try BatchHeader(reading: bytes)
                lines += [
                    ("frozen at", Timestamp.rfc3339(milliseconds: Int64(clamping: header.frozenAt))),
                    ("entries", "\(header.entries)"), ("groups", "\(header.groups)"),
                    ("origin", header.origin.map { "\($0)" } ?? "itself"),
                    ("stream so far", "increments \(header.cumulative.increments), sum \(header.cumulative.sum)"),
                ]
            } catch {
                lines.append(("header", error.sentence))
            }
        }
        return lines
    }

    /// Sixteen bytes a line: offset, hexadecimal, and what is visible ASCII.
    static func hexDump(_ bytes: [UInt8]) -> String {
        stride(from: 0, to: bytes.count, by: 16).map { start in
            let line = bytes[start..<min(start + 16, bytes.count)]
            let digits = line.map { Hex.text([$0]) }.joined(separator: " ")
            let visible = line.map { (0x20...0x7E).contains($0) ? String(UnicodeScalar($0)) : "." }.joined()
            let offset =
                Hex.text([UInt8(truncatingIfNeeded: start >> 24), UInt8(truncatingIfNeeded: start >> 16)])
                + Hex.text([UInt8(truncatingIfNeeded: start >> 8), UInt8(truncatingIfNeeded: start)])
            return "\(offset)  \(digits)\(String(repeating: " ", count: 48 - digits.count)) \(visible)\n"
        }.joined()
    }
}
