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

let package = Package(
    name: "tallymill",
    targets: [
        .target(name: "TallyCore", swiftSettings: strict),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "ShardStore", dependencies: ["TallyCore", "CSQLite"], swiftSettings: strict),
        .testTarget(name: "TallyCoreTests", dependencies: ["TallyCore"], swiftSettings: strict),
        // A process of its own for what a test cannot do to itself: be killed, hold a lock, be another user.
        .executableTarget(
            name: "shard-probe",
            dependencies: ["ShardStore", "TallyCore"],
            path: "Tests/ShardProbe",
            swiftSettings: strict
        ),
        .testTarget(
            name: "ShardStoreTests",
            dependencies: ["ShardStore", "TallyCore", "shard-probe"],
            swiftSettings: strict
        ),
    ]
)
