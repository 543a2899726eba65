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
    dependencies: [
        .package(url: "https://github.com/apple/swift-configuration.git", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
    ],
    targets: [
        .target(name: "TallyCore", swiftSettings: strict),
        .target(name: "CPlatform"),
        .target(
            name: "ServiceKit",
            dependencies: [
                "CPlatform",
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        .testTarget(name: "TallyCoreTests", dependencies: ["TallyCore"], swiftSettings: strict),
        // A process of its own for what a test cannot do to itself: be killed, hold a lock, lose its parent.
        .executableTarget(
            name: "servicekit-probe",
            dependencies: ["ServiceKit", .product(name: "Logging", package: "swift-log")],
            path: "Tests/ServiceKitProbe",
            swiftSettings: strict
        ),
        .testTarget(
            name: "ServiceKitTests",
            dependencies: [
                "ServiceKit", "servicekit-probe",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        // Real processes and kill -9; the harness is a target of its own, without any test.
        .target(
            name: "ClusterSupport", dependencies: ["TallyCore", "ServiceKit"], path: "Tests/ClusterSupport",
            swiftSettings: strict
        ),
        .testTarget(
            name: "ClusterTests", dependencies: ["ClusterSupport", "ServiceKit"], swiftSettings: strict),
    ]
)
