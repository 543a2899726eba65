// The descriptors of a node: clients get what is left when its own are set aside.

import HTTPFront
import TallyCore
import Testing

@testable import WebNode

@Suite struct DescriptorBudgetTests {
    private func budget(_ descriptors: Int, loops: Int = 2, _ connections: Int = 20_000) -> DescriptorBudget? {
        var http = HTTPLimits()
        http.connections = connections
        return DescriptorBudget(descriptors: descriptors, eventLoops: loops, http: http, adminConnections: 64)
    }

    @Test func enoughLeavesEverythingAsItIs() throws {
        let found = try #require(budget(65_536))
        #expect(found.connections == 20_000 && found.lingeringConnections == 1_024 && found.adminConnections == 64)
        let advised = 20_000 + Limits.descriptorsBesideConnections
        #expect(budget(advised, loops: 64)?.connections == 20_000, "what doctor advises is enough")
        #expect(budget(65_536, 5)?.connections == 5, "a small number is no mistake")
    }

    @Test(arguments: [100, 128, 256, 1_024, 4_096, 20_000, 21_000])
    func clientsNeverTakeAll(descriptors: Int) {
        guard let found = budget(descriptors) else {
            #expect(descriptors == 100)
            return
        }
        var http = HTTPLimits()
        http.connections = found.connections
        http.lingeringConnections = found.lingeringConnections
        var admin = HTTPLimits()
        admin.connections = found.adminConnections
        admin.lingeringConnections = found.adminConnections
        let own = DescriptorBudget.ownDescriptors + 2 * DescriptorBudget.loopDescriptors
        #expect(http.socketsMax + admin.socketsMax + own <= descriptors)
        #expect(found.connections >= 16 && found.connections < 20_000 && found.adminConnections >= 4)
    }

    @Test(arguments: [1, 8])
    func theLeastIsTheLeast(loops: Int) {
        let least = DescriptorBudget.least(eventLoops: loops, http: HTTPLimits(), adminConnections: 64)
        #expect(budget(least, loops: loops) != nil)
        #expect(budget(least - 1, loops: loops) == nil)
    }
}
