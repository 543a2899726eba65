// The machine below Redis: how the kernel hands out memory to a process that forks to rewrite its files, and the disk
// that they are on. Only where Redis is on this host; elsewhere `doctor` says where to look.

import RedisQueue
import ServiceKit

struct RedisHostChecks {
    /// nil if Redis cannot be asked.
    let reading: RedisReading?
    let url: RedisURL
    let host: HostFacts

    var all: [DoctorCheck] {
        if let other = url.otherHost {
            let reason = "Redis is on \(other): run this there, too"
            return [DoctorCheck.Name.redisOvercommit, .redisHugePages, .redisDisk].map { .skipped($0, reason) }
        }
        return [overcommit, hugePages] + disk
    }

    private var overcommit: DoctorCheck {
        guard let text = host.text("/proc/sys/vm/overcommit_memory") else {
            return .skipped(.redisOvercommit, "/proc/sys/vm/overcommit_memory cannot be read")
        }
        let value = text.prefix { !$0.isWhitespace }
        if value == "1" { return .ok(.redisOvercommit, "vm.overcommit_memory = 1") }
        return .warning(
            .redisOvercommit,
            "vm.overcommit_memory is \(value): Redis may fail to fork when it rewrites its file, and then refuse"
                + " writes",
            DoctorCheck.Mend(
                "echo vm.overcommit_memory=1 > /etc/sysctl.d/60-tallymill.conf",
                "sysctl -p /etc/sysctl.d/60-tallymill.conf"))
    }

    private var hugePages: DoctorCheck {
        let path = "/sys/kernel/mm/transparent_hugepage/enabled"
        guard let text = host.text(path) else { return .ok(.redisHugePages, "this kernel has none") }
        if !text.contains("[always]") { return .ok(.redisHugePages, "not for everybody") }
        return .warning(
            .redisHugePages,
            "transparent huge pages are on for every process: Redis stalls and copies more while it rewrites its file",
            DoctorCheck.Mend(
                "echo madvise > \(path)",
                advice: "Until the next start; transparent_hugepage=madvise on the kernel's command line makes it last."
            ))
    }

    private var disk: [DoctorCheck] {
        guard let reading else { return [.skipped(.redisDisk, "Redis does not answer")] }
        guard let folder = reading.settings?["dir"] else {
            return [.skipped(.redisDisk, "CONFIG GET dir is not allowed here")]
        }
        let logBytes = reading.info.number("aof_current_size") ?? 0
        return DiskCheck(
            name: .redisDisk, path: folder, neededBytes: logBytes, purpose: "a rewrite of its append-only file"
        ).look(host)
    }
}

/// Room on the disk of a folder.
struct DiskCheck {
    static let freePercentMin = 10
    static let freeBytesMin = 1 << 30
    static let freeFilesMin = 1_000

    let name: DoctorCheck.Name
    let path: String
    /// What `purpose` takes.
    let neededBytes: Int
    let purpose: String

    func look(_ host: HostFacts) -> [DoctorCheck] {
        let disk: HostFacts.Disk
        do throws(Failure) {
            disk = try host.disk(path)
        } catch {
            return [.skipped(name, error.sentence)]
        }
        let free = "\(Humanized.bytes(disk.freeBytes)) of \(Humanized.bytes(disk.totalBytes)) are free"
        let mend = DoctorCheck.Mend(
            "du -xh --max-depth=2 \(ShellWord.quoted(path)) | sort -h | tail",
            advice: "Free space, or move the folder to a larger disk.")
        var found: [DoctorCheck] = []
        if disk.freeBytes == 0 {
            found.append(.error(name, "\(path): the disk is full", mend))
        } else if disk.freeBytes < Self.freeBytesMin || disk.freeBytes / Self.freePercentMin < disk.totalBytes / 100 {
            found.append(.warning(name, "\(path): only \(free)", mend))
        } else if disk.freeBytes < neededBytes {
            found.append(.warning(name, "\(path): \(purpose) needs \(Humanized.bytes(neededBytes)), \(free)", mend))
        }
        if let files = disk.freeFiles, files < Self.freeFilesMin {
            found.append(
                .error(
                    name, "\(path): only \(files) more files can be made on this disk",
                    DoctorCheck.Mend("df -i \(ShellWord.quoted(path))", advice: "Delete files that nobody needs.")))
        }
        return found.orOK(name, "\(path): \(free)")
    }
}
