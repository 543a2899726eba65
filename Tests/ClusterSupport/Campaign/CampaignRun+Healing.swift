// The documented way back from whatever was done, and what must hold then.

import Glibc
import ServiceKit

extension CampaignRun {
    private static let rounds = 6
    private static let tooOld = "older than its queue"

    /// Redis, the newest files, an unfinished epoch, consumers, `repair`, nodes, imports and replays, and a drain.
    func heal() throws(HarnessError) {
        try freezeConsumers(false)
        for node in servers.indices { try freezeNode(node, false) }
        try makeRedisDurable()
        livingSources = Set(servers.compactMap { $0?.port })
        try takeNewestFiles()
        try finishEpoch()
        var last: String?
        for _ in 0..<Self.rounds {
            last = try mendOnce()
            if last == nil { break }
        }
        if let last { throw HarnessError("not healed after \(Self.rounds) rounds: \(last)") }
        try finishImports()
        try finishReplay()
        try finishJournal()
        letClientsWork(requests: 20, within: 1)
        load.stop()
        try drain()
    }

    /// A copy from before a rebalance is of no use: what was put aside for it is newer.
    private func takeNewestFiles() throws(HarnessError) {
        guard let present = clusterFile(), present.epoch < newestEpoch else { return }
        guard let newest = asides.last(where: { clusterFile($0)?.epoch == newestEpoch }) else { return }
        journal.append("    the files of epoch \(present.epoch) give way to those of epoch \(newestEpoch)")
        try giveLeaseBack()
        try quietly { () throws(HarnessError) in
            try Files.move(dataFolder, to: path("data.old-\(asides.count)"))
            try Files.move(newest, to: dataFolder)
            filesWentBack("an older epoch's files, which counted meanwhile", except: counters())
        }
    }

    private func finishEpoch() throws(HarnessError) {
        for _ in 0..<Self.rounds {
            guard let file = clusterFile(), !file.isReady else { return }
            let resume = ["rebalance", "resume"]
            let imports = model.lines.indices.filter { model.lines[$0].isTried }
                .map { ["import", "--format", "text", path("lines-\($0)")] }
            for command in file.isImporting ? imports : [resume] {
                guard let result = try change(command, before: nil), !result.isFine else { continue }
                if result.said.contains(Self.tooOld), let trouble = try mendFiles(result.said) {
                    throw HarnessError(trouble)
                }
            }
        }
        throw HarnessError("epoch \(newestEpoch) is still not ready")
    }

    /// One try; nil if all is well, else what is not.
    private func mendOnce() throws(HarnessError) -> String? {
        try startConsumers(.right)
        guard let repair = try tool(["repair", "--yes"]) else { return "repair was killed" }
        if repair.code == 3, let trouble = try mendFiles(repair.said) { return trouble }
        if let trouble = try mendConsumers() { return trouble }
        if !repair.isFine, repair.code != 3 { return "repair: \(tail(repair.said))" }
        for node in servers.indices {
            try startNode(node, .right)
            do throws(HarnessError) { try waitUntilReady(node, within: 8) } catch { return "\(error)" }
        }
        return nil
    }

    /// Consumers that have ended say why; a moment is given to those that have just begun.
    private func mendConsumers() throws(HarnessError) -> String? {
        guard let process = consumers else { return "no consumers" }
        let watch = Stopwatch()
        while try process.poll() == nil, watch.seconds < 60 {
            let owners = try tool(["status"])?.said ?? ""
            if !owners.contains("nobody") { return nil }
            if upPort != nil, watch.seconds > 3 {
                // Of its children each says for itself why it has ended: seen better without `up`.
                try stopConsumers()
                return "`up` has no consumer for some partition"
            }
            usleep(50_000)
        }
        guard let ending = try process.poll() else { return "partitions that nobody consumes" }
        let said = process.errorOutput
        consumers = nil
        try check(ending, of: process, "consume")
        if said.contains(Self.tooOld), let trouble = try mendFiles(said) { return trouble }
        return "the consumers \(ending): \(tail(said))"
    }

    /// A newer copy is put back if there is one, else the loss is accepted; nil if that was done.
    private func mendFiles(_ said: String) throws(HarnessError) -> String? {
        if try putBackNewest() { return nil }
        return try acceptLoss(said)
    }

    /// A copy of the same epoch that has everything that the present files have, and more.
    private func putBackNewest() throws(HarnessError) -> Bool {
        try giveLeaseBack()
        return try quietly { () throws(HarnessError) in
            let present = counters()
            let places = (asides + [path("data.copy")]).reversed()
            let newest = places.first { place in
                guard Files.exists(place), clusterFile(place)?.epoch == newestEpoch else { return false }
                let counters = counters(place)
                return counters != present && Ledger.isWhole(counters, of: present)
            }
            guard let newest else { return false }
            journal.append("    the newest copy is put back: \(newest)")
            try Files.move(dataFolder, to: path("data.gone-\(asides.count)-\(newest.count)"))
            try Files.move(newest, to: dataFolder)
            load.change { $0.unexpose() }
            model.filesWentBack = []
            return true
        }
    }

    /// Only what is documented to be missing is accepted as lost. nil if it was.
    private func acceptLoss(_ said: String) throws(HarnessError) -> String? {
        guard !model.filesWentBack.isEmpty else {
            throw HarnessError("a loss is named where none is documented: \(tail(said))")
        }
        guard features.repairAcceptsLoss else { throw HarnessError("there is no way on: \(tail(said))") }
        try stopConsumers()
        let accepted = try tool(["repair", "--yes", "--accept-loss", "all"])
        try startConsumers(.right)
        return accepted?.isFine == true ? nil : "repair --accept-loss: \(accepted.map { tail($0.said) } ?? "killed")"
    }

    /// The same lines again finish an import, in whichever way it was begun.
    private func finishImports() throws(HarnessError) {
        for number in model.lines.indices where model.lines[number].isTried {
            let command = ["import", "--format", "text", path("lines-\(number)")]
            var result = try tool(command)
            if result?.code == 75 {
                result = try change(command, before: nil)
                try startConsumers(.right)
            }
            guard let result, result.isFine else {
                throw HarnessError("import: \(result.map { tail($0.said) } ?? "killed")")
            }
            var posting = Posting()
            posting.tracerKeys = CampaignModel.keys(ofImport: number)
            load.change { $0.record(posting, .acknowledged) }
        }
    }

    /// `verify` says what ends one that was killed after it had done everything.
    private func finishJournal() throws(HarnessError) {
        guard Files.exists(dataFolder + "/rebalance.journal") else { return }
        try change(["rebalance", "resume"], before: nil)
        try startConsumers(.right)
    }

    private func finishReplay() throws(HarnessError) {
        guard model.isReplayOpen else { return }
        let result = try tool(["dead-letters", "replay", "--all"])
        guard let result, result.code == 0 || result.code == 3 else {
            throw HarnessError("replay: \(result.map { tail($0.said) } ?? "killed")")
        }
    }

    /// Nodes push what they have, consumers count it.
    private func drain() throws(HarnessError) {
        let complaints = load.complaints
        if let first = complaints.first {
            throw HarnessError("\(complaints.count) unexpected answers, such as \(first)")
        }
        // The node of `up` goes on: what it still holds would count later, and be missing now.
        try eventually("no node holds anything", within: 30, everyMilliseconds: 20) { () throws(HarnessError) in
            try areNodesEmpty()
        }
        try waitUntilEmpty()
        for node in servers.indices {
            guard let server = servers[node] else { continue }
            try server.process.send(SIGTERM)
            let ending = try server.process.waitForEnd(within: 15)
            guard ending == .code(0) else {
                throw HarnessError("node \(node) \(ending) at SIGTERM: \(tail(server.process.errorOutput))")
            }
        }
        try waitUntilEmpty()
    }

    private func waitUntilEmpty() throws(HarnessError) {
        var last = ""
        do throws(HarnessError) {
            try eventually("status shows nothing that waits", within: 20, everyMilliseconds: 50) {
                () throws(HarnessError) in
                let status = try tool(["status", "--format", "json"])
                last = status?.said ?? ""
                let tree = try JSONTree(status?.output ?? [])
                let isEmpty = tree["partitions"]?.elements.allSatisfy { $0["batches"]?.integer() == 0 } == true
                return isEmpty && tree["due"]?.elements.isEmpty == true
            }
        } catch {
            let said = consumers.map { tail($0.errorOutput, lines: 3) } ?? "no consumers"
            throw HarnessError("\(error): \(tail(last)); \(said)")
        }
    }

    // MARK: What must hold

    func judge() throws(HarnessError) {
        recordOpenQuestions()
        let report = try Report.read(dataFolder)
        let letters = try letters()
        var counters = report.counters
        let dead = countLate(letters, in: &counters)
        let bigs = model.differences(counters, letters: letters)
        for key in model.bigs.keys { counters[key] = nil }
        var found = load.ledger.discrepancies(in: counters).map(\.description) + bigs
        guard report.total == report.sum, !report.isPartial else { throw HarnessError("the report contradicts itself") }
        for command in [["verify"], ["audit"]] {
            guard let result = try tool(command) else { continue }
            if !result.isFine { found.append("\(command[0]) ended with \(result.code): \(tail(result.said))") }
        }
        let audit = try CampaignAudit(try tool(["audit", "--format", "json"])?.output ?? [])
        found += judgeLoss(audit, counters)
        if !found.isEmpty {
            let list = found.prefix(8).map { "\n  \($0)" }.joined()
            throw HarnessError("\(found.count) differences:\(list)")
        }
        let ledger = load.ledger
        journal.append(
            "    \(ledger.requests[.acknowledged] ?? 0) requests acknowledged, "
                + "\(ledger.missing(.exposed, in: counters)) increments lost and named, "
                + "\(ledger.missing(.forgotten, in: counters)) with a dead node and Redis, \(dead) came too late")
    }

    /// What tools have named against what is missing.
    private func judgeLoss(_ audit: CampaignAudit, _ counters: [String: Int64]) -> [String] {
        var found: [String] = []
        if audit.residual != 0 { found.append("the residual is \(audit.residual)") }
        let ledger = load.ledger
        let lost = ledger.missing(.exposed, in: counters)
        let forgotten = ledger.missing(.forgotten, in: counters)
        // Batches that are lost may also hold what nobody was promised: open fates, repeats, imports, big keys.
        let slack =
            ledger.missing(.unknown, in: counters) + load.repeated + model.bigs.count * 3
            + CampaignModel.linesOfImport * model.lines.count
        if model.filesWentBack.isEmpty, audit.lostIncrements != 0 {
            found.append("audit names \(audit.lostIncrements) lost increments where no loss is documented")
        }
        // A Redis that went back knows no longer what the files had; nodes that live still know.
        let known = model.redisWentBack ? ledger.missing(.exposed, by: livingSources, in: counters) : lost
        if known > 0, audit.lostIncrements < known, !audit.namesUnknownLosses {
            let why = model.filesWentBack.joined(separator: ", ")
            found.append("\(known) increments are lost (\(why)), audit names \(audit.lostIncrements)")
        }
        if audit.lostIncrements > Int64(lost + forgotten + slack) {
            found.append("\(lost) increments are lost, audit names \(audit.lostIncrements)")
        }
        return found
    }

    /// What came too late to be told from a repeat is not counted, and can be seen: so it is not lost.
    private func countLate(_ letters: [CampaignLetter], in counters: inout [String: Int64]) -> Int {
        var seen = 0
        for letter in letters where letter.reason == "late" {
            guard let sum = Int64(exactly: letter.sum), sum > 0 else { continue }
            seen += 1
            let digit = sum.trailingZeroBitCount & ~1
            if counters[letter.key, default: 0] >> Int64(digit) & 3 == 0 { counters[letter.key, default: 0] += sum }
        }
        return seen
    }
}
