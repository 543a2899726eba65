// An entry that no consumer can take keeps its partition from being counted for as long as it lies at the head of the
// list. An operator who has named it has it taken away: its bytes are kept in a file of the data folder, on the disk,
// before Redis forgets them. Killed in between, the same command does the rest.

import RedisQueue
import ServiceKit
import TallyCore

extension Repair {
    /// What lies at the head of lists and cannot be counted. Commands that every Redis has.
    func lookForStuck() throws(Failure) -> [StuckEntry] {
        let file = survey.file
        let partitions = file.earlier.flatMap(\.partitionIDs) + file.topology.partitionIDs
        return try ask { connection throws(RedisError) in
            try StuckEntry.find(partitions, ClusterKeys(connection: connection, names: access.names))
        }
    }

    func isBuried(_ stuck: StuckEntry) -> Bool { options.buried.contains(stuck.choice) }

    /// - Throws: 64 if something is to be buried that is neither there nor was buried before, with what is there.
    func check(_ stuck: [StuckEntry]) throws(Failure) {
        for choice in options.buried where !stuck.contains(where: { $0.choice == choice }) {
            if Folder.exists(path(of: choice)) { continue }
            let there = stuck.map { "\n    --bury \($0.choice.text)   (\($0))" }.joined()
            throw Failure(
                .usage, "\(choice.text) is not the oldest entry of its list, or a consumer can take it", at: "--bury",
                advice: stuck.isEmpty ? "No list begins with an entry that none can take." : "There are:" + there)
        }
    }

    /// Takes away what was named.
    ///
    /// - Returns: what else lies at the head of a list now that no consumer can take.
    func bury() throws(Failure) -> [StuckEntry] {
        while true {
            let stuck = try lookForStuck()
            let named = stuck.filter { isBuried($0) }
            if named.isEmpty { return stuck }
            for entry in named { try bury(entry) }
        }
    }

    private func bury(_ entry: StuckEntry) throws(Failure) {
        let path = path(of: entry.choice)
        try AtomicFile.write(entry.bytes, to: path)
        let reply = try ask { connection throws(RedisError) in
            try ClusterKeys(connection: connection, names: access.names).bury(entry.bytes, in: entry.choice.partition)
        }
        // Another head: somebody was faster, or Redis went back. The next look tells.
        guard reply == .buried else { return }
        tell(
            "buried \(Humanized.count(entry.bytes.count, "byte")) of epoch \(entry.choice.partition.epoch), partition"
                + " \(entry.choice.partition.number): they are kept in \(path), and count nothing. If they were a batch"
                + " once, its increments are missing: the consumer stops before the next batch of that producer, and"
                + " `tallymill repair` names what is lost")
    }

    private func path(of choice: BuryChoice) -> String { "\(folder.path)/\(choice.fileName)" }
}

extension Failure {
    static func stuck(_ entries: [StuckEntry]) -> Failure {
        let options = entries.map { "--bury \($0.choice.text)" }.joined(separator: " ")
        return Failure(
            .partial, entries.map(\.description).joined(separator: "\n  "),
            advice: "Put back the newest copy of Redis if that has it whole. Otherwise `tallymill repair \(options)`"
                + " keeps the bytes in a file and goes on behind them.")
    }
}
