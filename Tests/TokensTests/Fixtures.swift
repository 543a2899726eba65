// A temporary folder, digests of texts, and the words of a failure.

import Glibc
import ServiceKit
import Testing

@testable import Tokens

/// Runs `body` with a folder of its own, which is removed afterwards.
func withFolder(_ body: (String) throws -> Void) throws {
    var template = Array("/tmp/tm-tokens-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
        for name in ["tokens", "tokens.lock", "token"] { unlink("\(folder)/\(name)") }
        rmdir(folder)
    }
    try body(folder)
}

func write(_ text: String, to path: String, mode: mode_t = 0o640) throws {
    let file = try #require(fopen(path, "w"))
    fputs(text, file)
    fclose(file)
    try #require(chmod(path, mode) == 0)
}

func content(_ path: String) throws -> String {
    let bytes = try #require(try FileContent.readIfPresent(path, maximumBytes: 1 << 20))
    return String(decoding: bytes, as: UTF8.self)
}

func digest(_ text: String) -> TokenDigest {
    var text = text
    return text.withUTF8 { TokenDigest(of: UnsafeRawBufferPointer($0)) }
}

/// A line for the token `text`.
func line(_ name: String, _ text: String, scopes: String = "write", rate: String = "unlimited") -> String {
    "\(name) \(scopes) \(rate) sha256:\(digest(text).hex)\n"
}

/// What `body` throws.
func failure(_ body: () throws(Failure) -> Void) -> Failure? {
    do throws(Failure) {
        try body()
        Issue.record("nothing was thrown")
        return nil
    } catch {
        return error
    }
}
