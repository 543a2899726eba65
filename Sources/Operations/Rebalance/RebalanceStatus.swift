// Where a change of epoch stands, from the cluster file and the journal: while it runs, after it was interrupted, and
// when there is none.

import Glibc
public import ServiceKit
public import TallyCore

/// The state of the last change of epoch.
public struct RebalanceStatus: Sendable {
    public enum State: String, Sendable {
        /// No change is under way.
        case idle
        /// A process is at work.
        case running
        /// It can only be resumed.
        case interrupted
    }

    public let state: State
    public let file: ClusterFile
    /// The process that changes the cluster.
    public let pid: Int32?
    /// The last step that was begun, with its number and how many there are.
    public let step: RebalanceRecord?
    /// How far that step is, as far as it tells.
    public let progress: RebalanceRecord?
    /// Why the last run ended, if it failed.
    public let failure: String?
    /// Earlier epochs whose files are still there.
    public let kept: [(epoch: ClusterFile.Epoch, bytes: Int)]

    /// - Throws: 78 if there is no cluster, 74.
    public init(_ folder: DataFolder) throws(Failure) {
        file = try folder.clusterFile()
        pid = try FileLock.holder(folder.clusterLockPath)
        state = !file.isUnfinished ? .idle : pid == nil ? .interrupted : .running
        let records = file.isUnfinished ? try RebalanceRecord.read(folder.journalPath) : []
        let last = records.lastIndex { $0.event == .begin || $0.event == .resume } ?? 0
        let run = records[min(last, records.count)...]
        step = run.last { $0.event == .step }
        progress = run.last.flatMap { $0.event == .progress ? $0 : nil }
        failure = run.last.flatMap { $0.event == .failed ? $0.text : nil }
        var kept: [(epoch: ClusterFile.Epoch, bytes: Int)] = []
        for epoch in file.earlier where !epoch.isPurged {
            let path = folder.epochPath(epoch.epoch)
            if Folder.exists(path) { kept.append((epoch, try Folder.bytes(path))) }
        }
        self.kept = kept
    }

    private var change: String {
        guard let old = file.earlier.last else { return "" }
        return
            "epoch \(old.epoch) -> \(file.topology.epoch), \(old.partitions) -> \(file.topology.partitions) partitions"
    }

    /// Lines for a person.
    public var text: String {
        var lines: [String] = []
        switch state {
        case .idle:
            lines.append(
                "epoch \(file.topology.epoch) is \(file.state.rawValue): "
                    + Humanized.count(file.topology.partitions, "partition"))
        case .running: lines.append("\(change): under way in process \(pid ?? 0)")
        case .interrupted:
            lines.append(
                "\(change): INTERRUPTED; `tallymill rebalance resume` goes on with it")
        }
        if let step { lines.append("  step \(step.done) of \(step.total): \(step.text)") }
        if let progress, progress.total > 0 {
            lines.append(
                "  \(progress.text): \(Humanized.count(progress.done)) of \(Humanized.count(progress.total)) "
                    + "(\(progress.done * 100 / progress.total)%)")
        }
        if let failure { lines.append("  failed: \(failure)") }
        for (epoch, bytes) in kept {
            let shards = Humanized.count(epoch.partitions, "shard")
            lines.append(
                "  epoch \(epoch.epoch) is kept: \(shards), \(Humanized.bytes(bytes)); "
                    + "`tallymill rebalance purge` deletes it")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    public var json: String {
        let step =
            step.map { #"{"number":\#($0.done),"of":\#($0.total),"text":\#(JSONText.quote($0.text))}"# } ?? "null"
        let progress =
            progress.map { #"{"text":\#(JSONText.quote($0.text)),"done":\#($0.done),"total":\#($0.total)}"# } ?? "null"
        let epochs = kept.map {
            #"{"epoch":\#($0.epoch.epoch),"partitions":\#($0.epoch.partitions),"bytes":\#($0.bytes)}"#
        }
        return #"{"state":"\#(state.rawValue)","epoch":\#(file.topology.epoch),"#
            + #""partitions":\#(file.topology.partitions),"pid":\#(pid.map { "\($0)" } ?? "null"),"step":\#(step),"#
            + #""progress":\#(progress),"failure":\#(failure.map { JSONText.quote($0) } ?? "null"),"#
            + #""kept":[\#(epochs.joined(separator: ","))]}"#
    }
}
