// Steps with copies of files, and with dead letters.

import Glibc
import ServiceKit

extension CampaignRun {
    func performCopies(_ step: CampaignStep) throws(HarnessError) {
        switch step {
        case .backup: try backup()
        case .restore: try restore()
        case .copyFiles: try copyFiles(to: path("data.copy"))
        case .putBackFiles: try putBackFiles(from: path("data.copy"))
        case .copyHost: try copyHost()
        case .putBackHost: try putBackHost()
        case .staleInit: try stale(["init"])
        case .staleRepair: try stale(["repair", "--yes"])
        case .staleConsume: try staleConsume()
        default: preconditionFailure("\(step) is no step with copies")
        }
    }

    private func backup() throws(HarnessError) {
        let folder = path("backup")
        Files.removeTree(folder)
        copies[folder] = nil
        // Read before it, so that it holds at least these.
        let safe = try quietly { () throws(HarnessError) in counters() }
        if try tool(["backup", folder])?.isFine == true { copies[folder] = safe }
    }

    /// Refused if anything would be missing; taken with what that costs if the build can be told so.
    private func restore() throws(HarnessError) {
        let folder = path("backup")
        guard let safe = copies[folder] else { return }
        try giveLeaseBack()
        try quietly { () throws(HarnessError) in
            var result = try tool(["restore", folder, "--replace"])
            if result?.code == 3, features.restoreAcceptsLoss {
                result = try tool(["restore", folder, "--replace", "--accept-loss"])
            }
            if result == nil || result?.isFine == true { filesWentBack("restore", except: safe) }
        }
    }

    private func copyFiles(to copy: String) throws(HarnessError) {
        try giveLeaseBack()
        Files.removeTree(copy)
        try Files.copyTree(dataFolder, to: copy)
        copies[copy] = counters(copy)
        try startConsumers(.right)
    }

    /// The cluster's files are those of the copy now; what they were is kept beside them.
    private func putBackFiles(from copy: String) throws(HarnessError) {
        guard let safe = copies[copy] else { return }
        try giveLeaseBack()
        try quietly { () throws(HarnessError) in
            try replaceFiles(by: copy)
            filesWentBack("the copy of the files", except: safe)
        }
    }

    func replaceFiles(by copy: String) throws(HarnessError) {
        let aside = path("data.aside-\(asides.count + 1)")
        try Files.move(dataFolder, to: aside)
        asides.append(aside)
        try Files.copyTree(copy, to: dataFolder)
        // Of a newer epoch they are kept: without them there is no way on, and no tool says that there is.
        if sequence.losesNewest, clusterFile(aside)?.epoch == clusterFile()?.epoch { Files.removeTree(aside) }
    }

    private func copyHost() throws(HarnessError) {
        try giveLeaseBack()
        let copy = path("host.data")
        Files.removeTree(copy)
        try quietly { () throws(HarnessError) in
            try copyRedis(to: path("host.redis"))
            try Files.copyTree(dataFolder, to: copy)
            copies[copy] = counters(copy)
        }
        try startConsumers(.right)
    }

    private func putBackHost() throws(HarnessError) {
        let copy = path("host.data")
        guard let safe = copies[copy] else { return }
        try giveLeaseBack()
        try quietly { () throws(HarnessError) in
            try replaceFiles(by: copy)
            filesWentBack("the snapshot of the host", except: safe)
            try putBackRedis(from: path("host.redis"))
        }
    }

    // MARK: A copy that another host would have

    private func stale(_ arguments: [String]) throws(HarnessError) {
        let copy = path("data.copy")
        guard copies[copy] != nil else { return }
        try tool(arguments, dataFolder: copy, killedAfter: 2)
    }

    /// A consumer of the copy for a moment. What it counts is in the wrong place: tools must find that.
    private func staleConsume() throws(HarnessError) {
        let copy = path("data.copy")
        guard copies[copy] != nil, let file = clusterFile(copy), file.isReady else { return }
        let number = try pieces.startConsumer("0-\(file.partitions - 1)", dataFolder: copy)
        let process = pieces.consumers[number]
        // Until it has said for every partition what it does, then for a moment.
        let watch = Stopwatch()
        while try process.poll() == nil, watch.seconds < 5 {
            let said = process.errorOutput
            if ["consuming", "waiting", "stopped"].contains(where: { said.contains($0) }) { break }
            usleep(10_000)
        }
        letClientsWork(requests: 60, within: 0.6)
        try process.send(SIGTERM)
        let ending = try process.waitForEnd(within: 15)
        journal.append("    the consumer of the copy \(ending): \(tail(process.errorOutput, lines: 1))")
        try check(ending, of: process, "consume of a copy")
        try quietly { () throws(HarnessError) in
            let now = counters(copy)
            guard now != copies[copy] else { return }
            copies[copy] = now
            filesWentBack("what a copy of the files has counted", in: now, except: counters())
        }
    }

    // MARK: Dead letters

    func performLetters(_ step: CampaignStep) throws(HarnessError) {
        switch step {
        case .makeLetter: try makeLetter()
        case .replayLetters:
            let result = try tool(["dead-letters", "replay", "--all"], killedAfter: 1.2)
            if result == nil || result?.code == 69 { model.isReplayOpen = true }
            if result?.code == 0 || result?.code == 3 { model.isReplayOpen = false }
        default: try dropLetters()
        }
    }

    /// The largest sum, an amount that does not fit, and then room for it.
    private func makeLetter() throws(HarnessError) {
        let key = nextBigKey()
        let ports = servers.compactMap { $0.flatMap { $0.isFrozen ? nil : $0.port } }
        guard let port = ports.first else { return }
        var big = CampaignModel.Big()
        for value in [Int64.max, 5, -1_000] {
            var request = HTTPRequest("/increment?level=stored")
            request.headers = [
                ("Content-Type", "application/x-www-form-urlencoded"), ("Prefer", "wait=1"),
            ]
            let name = key.split(separator: " ").joined(separator: "+")
            request.body = Array("key=\(name)&value=\(value)".utf8)
            let answer = Loopback.ask(port, request, timeoutSeconds: 3)
            switch (answer?.status, answer?.level) {
            case (200, _), (202, "queued"), (202, "stored"): big.acknowledged += Int128(value)
            case (503, _): break
            default: big.isCertain = false
            }
            if model.fragile.contains(port) { big.isCertain = false }
        }
        model.bigs[key] = big
    }

    private func dropLetters() throws(HarnessError) {
        // A replay that was killed has its amounts in a queue, perhaps: what is dropped then is not given up.
        if model.isReplayOpen { return }
        guard let result = try tool(["dead-letters", "drop", "--all", "--yes"]) else { return model.lossIsDocumented() }
        for line in String(decoding: result.output, as: UTF8.self).split(separator: "\n") {
            let letter = CampaignLetter(try JSONTree(Array(line.utf8)))
            model.bigs[letter.key]?.dropped += letter.sum
        }
    }

    func letters() throws(HarnessError) -> [CampaignLetter] {
        let result = try tool(["dead-letters", "list", "--format", "json"], codes: [0])
        return try CampaignLetter.all(in: result?.output ?? [])
    }
}
