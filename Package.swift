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

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "tallymill",
    
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration.git", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
    ],
    targets: [
        .target(name: "CPlatform"),
        room("TallyCore"),
        room("HTTPFront", ["TallyCore", nioCore, nioPosix]),
        room("ServiceKit", ["CPlatform", configuration, logging]),
        room("Supervision", ["ServiceKit", logging]),
        tests("TallyCoreTests", ["TallyCore"]),
        tests("HTTPFrontTests", ["HTTPFront", "TallyCore", nioCore, nioPosix, nioEmbedded, nioHTTP1]),
        probe("servicekit-probe", path: "Tests/ServiceKitProbe", ["ServiceKit", logging]),
        tests("ServiceKitTests", ["ServiceKit", "servicekit-probe", logging]),
        probe("supervision-probe", path: "Tests/SupervisionProbe", ["ServiceKit", "Supervision", logging]),
        tests("SupervisionTests", ["ServiceKit", "Supervision", "supervision-probe"]),
    ]
)
