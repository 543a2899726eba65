// A shard that its consumer must not touch, below `up`: everybody else works on, and the operator's commands find the
// private Redis that they need.

import ClusterSupport
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct UpRefusalTests {
        private let first = #"{"a":1,"b":2,"c":3,"d":4}"#
        private let refusal = "consumer 1 ended with code 78"

        @Test func aShardThatIsGoneIsRestoredBesideUp() throws {
            try ClusterTests.withUp("up-refusal", partitions: 2) { cluster in
                let backup = cluster.folder.path + "/backup"
                try ClusterTests.post(cluster.port, first)
                try run(["backup", backup], cluster, ["backup of epoch 1: 2 shards"])
                try ClusterTests.post(cluster.port, first)
                try ClusterTests.interrupt(cluster)
                for end in ["", "-wal", "-shm"] {
                    let file = cluster.dataFolder + "/epoch-0001/shard-0001-of-0002.sqlite" + end
                    if Files.exists(file) { try Files.move(file, to: cluster.folder.path + "/gone" + end) }
                }
                try cluster.startAgain()
                try says(cluster, "\(refusal), and is tried again every 5 s; all others go on")
                let told = "\(refusal): its partition is not counted until that is mended."
                try ClusterTests.check(cluster.process.output.contains(told), tail(cluster.process.output))
                // c is in partition 0; what is for the others waits.
                try ClusterTests.post(cluster.port, #"{"c":10}"#)
                try ClusterTests.post(cluster.port, #"{"a":100}"#, level: "queued")
                let restore = ["restore", backup, "--partitions", "1"]
                try run(restore, cluster, code: 3, ["would be missing: ", "`up`: released 2, but \(refusal)"])
                try run(restore + ["--accept-loss"], cluster, ["declared lost: partition 1: ", "`up`: released 2"])
                try says(cluster, "the consumers work again: 2 partitions")
                try ClusterTests.post(cluster.port, #"{"a":1000}"#)
                let counters = try cluster.report().counters
                try ClusterTests.check(counters == ["a": 1101, "b": 2, "c": 16, "d": 4], "\(counters)")
                try ClusterTests.interrupt(cluster)
            }
        }

        private func says(_ cluster: UpCluster, _ words: String) throws(HarnessError) {
            try eventually("`up` says: \(words)", within: 20) { cluster.process.errorOutput.contains(words) }
        }

        private func run(
            _ arguments: [String], _ cluster: UpCluster, code: Int32 = 0, _ words: [String]
        ) throws(HarnessError) {
            try ClusterTests.expect(arguments + ["--data-dir", cluster.dataFolder], code: code, words: words)
        }
    }
}
