// A whole cluster as a user starts it: `tallymill up` on a folder, and more web nodes beside it on request.
//
// Its children are found through /proc and killed by number. `destroy` ends whatever is left of it, also after a
// failed test.

import Glibc
public import ServiceKit

/// `tallymill up` and its children. Owned by one thread.
public final class UpCluster {
    public let folder: TestFolder
    public let dataFolder: String
    /// As many as it has now: whoever rebalances says so here.
    public var partitions: Int
    public private(set) var process: RunningProcess
    /// Where the web node of `up` listens.
    public private(set) var port: UInt16
    private var starts = 1
    private let options: [String]

    /// Starts and waits until it is ready.
    ///
    /// - Parameter subfolder: where the data goes within the folder.
    public init(_ folder: TestFolder, partitions: Int = 4, subfolder: String = "data", options: [String] = [])
        throws(HarnessError)
    {
        self.folder = folder
        self.partitions = partitions
        self.options = options
        dataFolder = folder.path + "/" + subfolder
        process = try Self.launch(folder, dataFolder, partitions, options, start: 1)
        do throws(HarnessError) {
            port = try Self.waitUntilReady(process, within: 30)
        } catch {
            try process.kill9()
            throw error
        }
    }

    /// `up` again on the same folder, after it has ended.
    ///
    /// - Parameter partitions: K, if another one has been made of it.
    public func startAgain(partitions: Int? = nil) throws(HarnessError) {
        starts += 1
        self.partitions = partitions ?? self.partitions
        let partitions = self.partitions
        process = try Self.launch(folder, dataFolder, partitions, options, start: starts)
        port = try Self.waitUntilReady(process, within: 30)
    }

    private static func launch(
        _ folder: TestFolder, _ dataFolder: String, _ partitions: Int, _ options: [String], start: Int
    ) throws(HarnessError) -> RunningProcess {
        try RunningProcess(
            TestEnvironment.binary(),
            ["up", "--data-dir", dataFolder, "--listen", "127.0.0.1:0", "--partitions", "\(partitions)"] + options,
            log: dataFolder + "-up-\(start)")
    }

    /// The port in what `up` prints when it is ready.
    private static func waitUntilReady(_ process: RunningProcess, within seconds: Double) throws(HarnessError)
        -> UInt16
    {
        var port: UInt16?
        try eventually("`up` prints its address and answers there", within: seconds) { () throws(HarnessError) in
            if let ending = try process.poll() {
                throw HarnessError("`up` \(ending): \(tail(process.output)) \(tail(process.errorOutput))")
            }
            port = Self.port(in: process.output)
            guard let port else { return false }
            return Loopback.ask(port, .get("/readyz"))?.status == 200
        }
        return port ?? 0
    }

    /// The first `127.0.0.1:PORT` of a text, if the text goes on after it.
    static func port(in text: String) -> UInt16? {
        let marker = "127.0.0.1:"
        var rest = text[...]
        while let start = rest.firstRange(of: marker) {
            let digits = rest[start.upperBound...].prefix { $0.isNumber }
            if let port = UInt16(digits), port != 0, digits.endIndex != rest.endIndex { return port }
            rest = rest[start.upperBound...]
        }
        return nil
    }

    // MARK: Children

    public func children(_ role: ProcessEntry.Role) -> [ProcessEntry] {
        ProcessTable.children(of: process.pid).filter { $0.role == role }
    }

    /// Whether one web node, a consumer for each partition and Redis run.
    public var isComplete: Bool {
        let roles = ProcessTable.children(of: process.pid).map(\.role)
        let count = { role in roles.count { $0 == role } }
        return count(.web) == 1 && count(.consumer) == partitions && count(.redis) == 1
    }

    /// Whether the web node of `up` admits requests.
    public var isReady: Bool { Loopback.ask(port, .get("/readyz"))?.status == 200 }

    /// Sends a signal to children of this `up`, all at once.
    public func signal(_ signal: Int32, _ entries: [ProcessEntry]) {
        for entry in entries {
            precondition(entry.parent == process.pid, "only children of our own `up` get signals")
            kill(entry.pid, signal)
        }
    }

    /// Kills `up` alone and waits until nothing of it is left.
    public func killAlone() throws(HarnessError) {
        let children = ProcessTable.children(of: process.pid)
        try process.kill9()
        try eventually("the children of a killed `up` are gone", within: 5) {
            children.allSatisfy { !ProcessTable.isRunning($0.pid) }
        }
    }

    /// Ctrl-C, and how it ended.
    public func interrupt(within seconds: Double = 30) throws(HarnessError) -> ChildProcess.Ending {
        try process.send(SIGINT)
        return try process.waitForEnd(within: seconds)
    }

    /// Ends everything that is left, without asking.
    public func destroy() {
        let children = ProcessTable.children(of: process.pid)
        do throws(HarnessError) { try process.kill9() } catch { note("cannot end `up`: \(error)") }
        for entry in children where ProcessTable.entry(entry.pid)?.arguments == entry.arguments {
            kill(entry.pid, SIGKILL)
        }
    }

    // MARK: What is counted

    public func report(_ options: [String] = []) throws(HarnessError) -> Report {
        try Report.read(dataFolder, options)
    }

    /// Waits until the report agrees with the ledger.
    public func settle(_ ledger: Ledger, within seconds: Double = 30) throws(HarnessError) {
        let dataFolder = dataFolder
        try Settling.wait(ledger, within: seconds) { () throws(HarnessError) in try Report.read(dataFolder) }
    }
}

/// Waiting for totals.
public enum Settling {
    /// Reads reports until one agrees with the ledger.
    ///
    /// - Throws: the differences, at once if one of them cannot heal, else after `seconds`.
    public static func wait(_ ledger: Ledger, within seconds: Double, _ report: () throws(HarnessError) -> Report)
        throws(HarnessError)
    {
        let watch = Stopwatch()
        while true {
            let found = ledger.discrepancies(in: try report())
            guard let first = found.first else { return }
            if !first.mayHeal || watch.seconds > seconds {
                let list = found.prefix(10).map { "  \($0)" }.joined(separator: "\n")
                throw HarnessError("\(found.count) differences after \(watch.text) s:\n\(list)")
            }
            usleep(50_000)
        }
    }
}
