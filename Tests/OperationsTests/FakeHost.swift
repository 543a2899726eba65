// A host on which everything is well, in files and closures that a test may replace: what `doctor` is shown of the
// kernel, the disks, the clock and the permissions.

import Glibc
import ServiceKit
import Testing

@testable import Operations

final class FakeHost {
    private let folder = ScratchFolder()
    var facts = HostFacts()

    init() {
        facts.root = folder.path
        facts.disk = { _ in HostFacts.Disk(totalBytes: 100 << 30, freeBytes: 50 << 30, freeFiles: 1 << 20) }
        write("1\n", to: "proc/sys/vm/overcommit_memory")
        write("always [madvise] never\n", to: "sys/kernel/mm/transparent_hugepage/enabled")
        write("22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n", to: "proc/self/mountinfo")
        write(Self.limits(files: 1_048_576), to: "proc/self/limits")
    }

    func write(_ text: String, to path: String) {
        var made = folder.path
        for part in path.split(separator: "/").dropLast() {
            made += "/\(part)"
            mkdir(made, 0o755)
        }
        folder.write(text, to: path)
    }

    func remove(_ path: String) { unlink("\(folder.path)/\(path)") }

    /// A process, with its command line and its hard limit of open files.
    func run(_ pid: Int, _ words: [String], files: Int) {
        write(words.map { $0 + "\0" }.joined(), to: "proc/\(pid)/cmdline")
        write(Self.limits(files: files), to: "proc/\(pid)/limits")
    }

    /// As the kernel writes it.
    private static func limits(files: Int) -> String {
        """
        Limit                     Soft Limit           Hard Limit           Units
        Max processes             127178               127178               processes
        Max open files            1024                 \(files)              files

        """
    }
}

extension Doctor {
    /// What was found by one check: severity, sentence, and each command on a line.
    func found(_ name: DoctorCheck.Name) -> [String] {
        checks.filter { $0.name == name }.flatMap(\.lines)
    }

    /// What was found at all.
    var findings: [String] { checks.flatMap(\.lines) }

    /// What was seen, or why nothing was, by checks without a finding.
    func seen(_ name: DoctorCheck.Name) -> String? {
        for check in checks where check.name == name {
            switch check.outcome {
            case .ok(let text): return text
            case .skipped(let reason): return "skipped: \(reason)"
            case .found: continue
            }
        }
        return nil
    }
}

extension DoctorCheck {
    /// nothing for a check without finding
    var lines: [String] {
        guard case .found(let severity, let what, let mend) = outcome else { return [] }
        return ["\(severity.rawValue): \(what)"] + mend.commands.map { "$ \($0)" }
    }
}
