// A folder for one test, removed with it, and what tests do with files in it.

import Glibc
import ServiceKit

final class ScratchFolder {
    let path: String

    init() {
        var template = Array("/tmp/tallymill-operations-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { preconditionFailure("no temporary folder") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { TestProgram.run("/bin/rm", ["-rf", path]) }

    /// Writes a file; its path.
    @discardableResult
    func write(_ text: String, to name: String) -> String { write(Array(text.utf8), to: name) }

    @discardableResult
    func write(_ bytes: [UInt8], to name: String) -> String {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        precondition(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
        return file
    }

    func read(_ name: String) throws(Failure) -> [UInt8] {
        try FileContent.readIfPresent("\(path)/\(name)", maximumBytes: 1 << 30) ?? []
    }

    func text(_ name: String) throws(Failure) -> String { String(decoding: try read(name), as: UTF8.self) }

    func exists(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }
}

/// Overwrites one byte of a file that nobody has open.
func flip(_ path: String, at offset: Int) {
    let descriptor = open(path, O_RDWR)
    defer { close(descriptor) }
    var byte: UInt8 = 0
    precondition(pread(descriptor, &byte, 1, offset) == 1)
    byte ^= 0xFF
    precondition(pwrite(descriptor, &byte, 1, offset) == 1)
}

/// The names of a path's folder that it shares with nobody: all of them, sorted.
func names(in path: String) -> [String] {
    let listing = TestProgram.run("/bin/ls", ["-A", path])
    return listing.split(separator: "\n").map(String.init)
}

/// Programs of the system.
enum TestProgram {
    /// Runs one to its end, which must be a success; what it prints.
    @discardableResult
    static func run(_ executable: String, _ arguments: [String]) -> String {
        do throws(Failure) {
            var plan = ChildProcess.Plan(executable: executable, arguments: arguments)
            plan.output = .pipe
            plan.errorOutput = .inherit
            let child = try ChildProcess.spawn(plan)
            var lines: [String] = []
            while let output = child.output, !output.isAtEnd, try output.wait(timeoutMilliseconds: 60_000) {
                lines += try output.readAvailable()
            }
            let ending = try child.wait()
            precondition(ending == .code(0), "\(executable) \(arguments) did not end well")
            return lines.joined(separator: "\n")
        } catch {
            preconditionFailure("\(executable): \(error)")
        }
    }
}
