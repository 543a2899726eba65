// swift-tools-version: 6.2
import PackageDescription

/// One set of rules for every target: Swift 6, imports internal unless public on purpose, no warnings.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// A room of the product.
func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// The tests of a room.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// A program that tests start: for what a test cannot do to itself, such as being killed.
func probe(_ name: String, path: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

// The HTTP codec of SwiftNIO is the reference of a differential test; the product does without.
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

// The simulator runs optimised, everything else in the tests does not need to be: with TALLYMILL_PACKAGE=core the package
// is the core and its simulator, which the compiler optimises in a minute instead of ten.
let isCoreOnly = Context.environment["TALLYMILL_PACKAGE"] == "core"
let core: [Target] = [
    room("TallyCore"),
    // The model of Redis and of the shards, and the real machines under a seeded scheduler.
    .target(name: "Simulation", dependencies: ["TallyCore"], path: "Tests/Simulation", swiftSettings: strict),
    tests("SimulationTests", ["TallyCore", "Simulation"]),
]

let package = Package(
    name: "tallymill",
    dependencies: isCoreOnly
        ? []
        : [
            // What is built is what was tested: a newer version comes by a change here, and a line in CHANGELOG.md.
            .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
            .package(url: "https://github.com/apple/swift-configuration.git", exact: "1.4.0", traits: []),
            .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
            .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
            .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift.git", exact: "0.2.0"),
        ],
    targets: isCoreOnly
        ? core
        : core + [
            .systemLibrary(name: "CHiredis"),
            .systemLibrary(name: "CSQLite"),
            .systemLibrary(name: "CCrypto"),
            .target(
                name: "CPlatform",
                cSettings: [
                    .define("TALLYMILL_COMMIT", to: "\"\(Context.gitInformation?.currentCommit ?? "no commit")\"")
                ]),
            room("RedisQueue", ["TallyCore", "CHiredis"]),
            room("ShardStore", ["TallyCore", "CCrypto", "CSQLite"]),
            room("Tokens", ["TallyCore", "ServiceKit", "CCrypto"]),
            room("HTTPFront", ["TallyCore", "ServiceKit", "CPlatform", "Tokens"]),
            room("ServiceKit", ["CPlatform", configuration, logging]),
            room("Supervision", ["CPlatform", "ServiceKit", "TallyCore", logging]),
            room("WebNode", ["TallyCore", "RedisQueue", "HTTPFront", "ServiceKit", "Tokens", logging]),
            room("ShardConsumer", ["TallyCore", "RedisQueue", "ShardStore", "ServiceKit", logging]),
            room("Operations", ["TallyCore", "RedisQueue", "ShardStore", "ServiceKit", "ShardConsumer"]),
            room(
                "Telemetry",
                [
                    "HTTPFront", "Operations", "RedisQueue", "ServiceKit", "ShardConsumer", "ShardStore", "TallyCore",
                    "Tokens", "WebNode", logging,
                ]),
            room("Bench", ["CPlatform", "TallyCore", "ServiceKit", "Tokens", histogram]),
            .executableTarget(
                name: "tallymill",
                dependencies: [
                    "CPlatform", "TallyCore", "RedisQueue", "ShardStore", "HTTPFront", "ServiceKit", "WebNode",
                    "ShardConsumer", "Operations", "Supervision", "Telemetry", "Tokens", "Bench", arguments, logging,
                ],
                swiftSettings: strict),

            tests("TallyCoreTests", ["TallyCore"]),
            .target(
                name: "TestSupport", dependencies: ["CPlatform", "RedisQueue", "TallyCore"], path: "Tests/TestSupport",
                swiftSettings: strict),
            tests("RedisQueueTests", ["RedisQueue", "Simulation", "TallyCore", "TestSupport"]),
            probe("shard-probe", path: "Tests/ShardProbe", ["ShardStore", "TallyCore"]),
            tests("ShardStoreTests", ["ShardStore", "TallyCore", "shard-probe"]),
            // Fills queues for deploy/bench-apply.
            probe("queue-filler", path: "Tests/QueueFiller", ["RedisQueue", "TallyCore"]),
            // Makes and rebuilds shards for deploy/bench-rebalance.
            probe(
                "shard-filler", path: "Tests/ShardFiller",
                ["Operations", "ServiceKit", "ShardConsumer", "ShardStore", "TallyCore"]),
            tests("TokensTests", ["ServiceKit", "Tokens"]),
            tests(
                "HTTPFrontTests", ["HTTPFront", "ServiceKit", "TallyCore", "Tokens", nioCore, nioEmbedded, nioHTTP1]),
            probe("servicekit-probe", path: "Tests/ServiceKitProbe", ["ServiceKit", logging]),
            tests("ServiceKitTests", ["ServiceKit", "servicekit-probe", logging]),
            probe("supervision-probe", path: "Tests/SupervisionProbe", ["ServiceKit", "Supervision", logging]),
            tests("SupervisionTests", ["ServiceKit", "Supervision", "TallyCore", "supervision-probe"]),
            // Times the first half of an import.
            probe("import-probe", path: "Tests/ImportProbe", ["Operations", "ServiceKit", "TallyCore"]),
            tests(
                "TelemetryTests",
                [
                    "HTTPFront", "Operations", "ServiceKit", "ShardConsumer", "ShardStore", "TallyCore", "Telemetry",
                    "WebNode",
                ]),
            tests(
                "WebNodeTests",
                [
                    "ClusterSupport", "HTTPFront", "RedisQueue", "ServiceKit", "TallyCore", "TestSupport", "WebNode",
                    logging,
                ]),
            tests("BenchTests", ["Bench", "ServiceKit", "TallyCore", "Tokens"]),
            tests(
                "OperationsTests",
                [
                    "ClusterSupport", "HTTPFront", "Operations", "RedisQueue", "ServiceKit", "ShardConsumer",
                    "ShardStore",
                    "TallyCore", "TestSupport", "shard-filler", logging,
                ]),
            // Real processes and kill -9; the harness is a target of its own, without any test.
            .target(
                name: "ClusterSupport", dependencies: ["TallyCore", "ServiceKit"], path: "Tests/ClusterSupport",
                swiftSettings: strict),
            tests(
                "ClusterTests",
                [
                    "ClusterSupport", "Operations", "RedisQueue", "ServiceKit", "ShardStore", "Supervision",
                    "TallyCore", "Telemetry", "TestSupport", "tallymill", "supervision-probe",
                ]),
        ]
)
