// Backup and restore with real processes: during load, into another place, and what is refused with which words.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct BackupTests {
        /// Backups while requests come in; the last one becomes another cluster, the first is too old for the queues.
        @Test func backupUnderLoadAndRestoreElsewhere() throws {
            try ClusterTests.withUp("backup") { cluster in
                let place = ["--data-dir", cluster.dataFolder]
                let (first, last) = (cluster.folder.path + "/first", cluster.folder.path + "/last")
                let load = Load(NodeBook([cluster.port]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                try work(load, requests: 100)
                try ClusterTests.expect(["backup", first] + place, words: ["backup of epoch 1: 4 shards"])
                try work(load, requests: 200)
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                try ClusterTests.expect(["backup", last] + place, words: ["backup of epoch 1: 4 shards"])
                for folder in [first, last] {
                    try ClusterTests.expect(
                        ["backup", "--verify", folder], words: ["the backup is complete: epoch 1, 4 shards"])
                }
                let report = try cluster.report()
                try goElsewhere(cluster, last, report)
                try refuse(cluster, first)
                try ClusterTests.check(try cluster.report().counters == report.counters, "the cluster was changed")
            }
        }

        private func work(_ load: Load, requests: Int) throws(HarnessError) {
            let goal = (load.ledger.requests[.acknowledged] ?? 0) + requests
            try eventually("\(requests) requests are acknowledged", within: 60) {
                (load.ledger.requests[.acknowledged] ?? 0) >= goal
            }
        }

        /// A new cluster of a backup: the same counts, and it counts on.
        private func goElsewhere(_ cluster: UpCluster, _ backup: String, _ report: Report) throws(HarnessError) {
            let elsewhere = cluster.folder.path + "/elsewhere"
            try ClusterTests.expect(
                ["restore", backup, "--no-redis", "--data-dir", elsewhere],
                words: ["restored epoch 1: 4 shards", "next: `tallymill up --data-dir \(elsewhere)`"])
            try ClusterTests.check(try Report.read(elsewhere).counters == report.counters, "other counts elsewhere")
            let again = try UpCluster(cluster.folder, subfolder: "elsewhere")
            defer { again.destroy() }
            try ClusterTests.post(again.port, #"{"only elsewhere":7}"#)
            try eventually("it counts on", within: 10) { () throws(HarnessError) in
                try again.report().total == report.total + 7
            }
            try ClusterTests.expect(["verify", "--data-dir", elsewhere], words: ["no findings"])
            try ClusterTests.interrupt(again)
        }

        /// A backup that is older than its queues: what would be missing, 3, and nothing done.
        private func refuse(_ cluster: UpCluster, _ backup: String) throws(HarnessError) {
            let refused = cluster.folder.path + "/refused"
            let redis = "unix://" + Files.text(cluster.dataFolder + "/up/redis.socket").prefix { $0 != "\n" }
            let options = ["--data-dir", refused, "--redis", redis]
            try ClusterTests.expect(
                ["restore", backup] + options, code: 3,
                words: ["would be missing: partition 0: ", " of producer ", "batches were committed after this backup"])
            try ClusterTests.check(!Files.exists(refused), "a refused restore has made a folder")
            try ClusterTests.expect(
                ["restore", backup, "--replace", "--data-dir", cluster.dataFolder], code: 3,
                words: ["would be missing: partition 0: "])
            try ClusterTests.expect(
                ["restore", backup, "--data-dir", cluster.dataFolder], code: 78,
                words: ["there are shards of this cluster already", "--replace puts them aside"])
            try ClusterTests.expect(
                ["restore", backup, "--data-dir", refused, "--redis", "unix:///nowhere.sock"], code: 69,
                words: ["--no-redis says that there is none"])
        }

        /// Beside a running `up`: its consumers stand still for it and go on after it, also if nothing is restored.
        @Test func restoreBesideUp() throws {
            try ClusterTests.withUp("restore-up") { cluster in
                let backup = cluster.folder.path + "/backup"
                let place = ["--data-dir", cluster.dataFolder]
                let held = ["the consumers of `up` have stopped", "`up`: released 4"]
                try ClusterTests.post(cluster.port, #"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}"#)
                try ClusterTests.expect(["backup", backup] + place, words: ["backup of epoch 1: 4 shards"])
                // Nothing has been counted since: nothing is lost.
                let restored = ["restored epoch 1: 4 shards, 6 keys, total 21"]
                try ClusterTests.expect(["restore", backup, "--replace"] + place, words: held + restored)
                try ClusterTests.check(cluster.isComplete, "not all consumers run after the restore")
                try ClusterTests.post(cluster.port, #"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#)
                try ClusterTests.expect(
                    ["restore", backup, "--replace"] + place, code: 3, words: held + ["would be missing: "])
                try ClusterTests.check(cluster.isComplete, "not all consumers run after a refusal")
                try ClusterTests.check(try cluster.report().total == 27, "a refused restore has changed something")
                try ClusterTests.post(cluster.port, #"{"g":100}"#)
                let lost = ["declared lost: partition "]
                try ClusterTests.expect(
                    ["restore", backup, "--replace", "--accept-loss"] + place, words: held + lost + restored)
                try ClusterTests.post(cluster.port, #"{"a":1000,"b":1000,"c":1000,"d":1000,"e":1000,"f":1000,"g":1}"#)
                let report = try cluster.report()
                try ClusterTests.check(report.total == 6022 && report.counters["a"] == 1001, "\(report)")
                try ClusterTests.expect(["verify"] + place, words: ["no findings"])
                try ClusterTests.expect(["audit"] + place, words: ["lost"])
                try oneShard(cluster, backup, place)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// One shard is gone: its copy comes back alone, and what nobody else has is declared lost for it alone.
        private func oneShard(_ cluster: UpCluster, _ backup: String, _ place: [String]) throws(HarnessError) {
            let options = ["restore", backup, "--partitions", "2"] + place
            try ClusterTests.expect(options, code: 78, words: ["there are shards of this cluster already"])
            try ClusterTests.expect(
                ["restore", backup, "--partitions", "4"] + place, code: 78, words: ["Its partitions are 0 to 3."])
            let words = [
                "the consumers of `up` have stopped", "declared lost: partition 2:", "restored epoch 1: 1 shard, ",
            ]
            try ClusterTests.expect(options + ["--replace", "--accept-loss"], words: words)
            try ClusterTests.check(cluster.isComplete, "not all consumers run after the restore of a shard")
            try ClusterTests.post(cluster.port, #"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}"#)
            try ClusterTests.expect(["verify"] + place, words: ["no findings"])
        }

        /// Shards put back by hand from an old copy: refused with what is missing. The newest copy goes on.
        @Test func oldShardsByHand() throws {
            try ClusterTests.withPieces("byhand") { cluster in
                let (old, newest) = (cluster.folder.path + "/old", cluster.folder.path + "/newest")
                let epoch = cluster.dataFolder + "/epoch-0001"
                try cluster.startWeb()
                try cluster.waitUntilReady(0)
                try count(cluster, #"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}"#)
                try Files.copyTree(epoch, to: old)
                try count(cluster, #"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}"#)
                try Files.move(epoch, to: newest)
                try Files.move(old, to: epoch)
                let refused = try cluster.startConsumer("0-3")
                let ending = try cluster.consumers[refused].waitForEnd(within: 20)
                let said = cluster.consumers[refused].errorOutput
                try ClusterTests.check(ending == .code(78), "\(ending): \(tail(said))")
                for words in [
                    "the file is older than its queue", "were committed once and are missing: ",
                    "put back the newest copy of the file",
                ] {
                    try ClusterTests.check(said.contains(words), "`\(words)` is not in: \(tail(said))")
                }
                Files.removeTree(epoch)
                try Files.move(newest, to: epoch)
                try count(cluster, #"{"a":1}"#)
                let report = try cluster.report()
                try ClusterTests.check(report.total == 45 && report.counters["a"] == 3, "\(report)")
            }
        }

        /// Posts with a consumer that runs for this alone, until it is stored.
        private func count(_ cluster: ManualCluster, _ json: String) throws(HarnessError) {
            let number = try cluster.startConsumer("0-3")
            try ClusterTests.post(cluster.ports[0], json)
            try cluster.consumers[number].send(SIGTERM)
            let ending = try cluster.consumers[number].waitForEnd(within: 20)
            try ClusterTests.check(ending == .code(0), tail(cluster.consumers[number].errorOutput))
        }

        /// A second copy of the shards on the same host: it waits, says for whom, and disturbs nothing.
        @Test func aSecondCopyOfTheShards() throws {
            try ClusterTests.withPieces("copies") { cluster in
                let copy = cluster.folder.path + "/copy"
                try Files.copyTree(cluster.dataFolder, to: copy)
                try cluster.startWeb()
                try cluster.waitUntilReady(0)
                let first = try cluster.startConsumer("0-3")
                try ClusterTests.post(cluster.ports[0], #"{"a":1,"b":2,"c":3,"d":4}"#)
                let second = try cluster.startConsumer("0-3", dataFolder: copy)
                let words = "a consumer on another host or of another copy of this shard file"
                try eventually("the second consumer says why it waits", within: 20) {
                    cluster.consumers[second].errorOutput.contains(words)
                }
                try ClusterTests.post(cluster.ports[0], #"{"a":1,"b":1,"c":1,"d":1}"#)
                try ClusterTests.check(try cluster.report().total == 14, "not all is in the first copy")
                try ClusterTests.check(try Report.read(copy).total == 0, "the second copy has counted")
                try cluster.consumers[first].send(SIGTERM)
                _ = try cluster.consumers[first].waitForEnd(within: 20)  // told by what the second does now
                let ending = try cluster.consumers[second].waitForEnd(within: 70)
                let said = cluster.consumers[second].errorOutput
                try ClusterTests.check(ending == .code(78), "\(ending): \(tail(said))")
                try ClusterTests.check(said.contains("the file is older than its queue"), tail(said))
            }
        }
    }
}
