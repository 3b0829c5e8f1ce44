//! The device that hot threads should be near to.

/// The class of display controllers, the first byte.
const DISPLAY: &str = "0x03";

/// The NUMA node of the fastest network card that is up or, if none is on a node, of the first graphics card. `read`
/// gives the text of a file under `/sys`, if there is one, and `list` the names in a folder.
pub fn device_node(
    read: impl Fn(&str) -> Option<String>,
    list: impl Fn(&str) -> Vec<String>,
) -> Option<usize> {
    // The kernel writes -1 for none.
    let number = |path: &str| read(path).and_then(|text| text.trim().parse::<usize>().ok());
    let card = |name: &String| {
        let own = format!("/sys/class/net/{name}");
        // Above a virtio device is the PCI device that has a node.
        let node = number(&format!("{own}/device/numa_node"))
            .or_else(|| number(&format!("{own}/device/../numa_node")));
        let is_up = read(&format!("{own}/operstate")).is_some_and(|state| state.trim() == "up");
        node.filter(|_| is_up).map(|node| (number(&format!("{own}/speed")).unwrap_or(0), node))
    };
    let mut fastest: Option<(usize, usize)> = None;
    for found in list("/sys/class/net").iter().filter_map(card) {
        if fastest.is_none_or(|(speed, _)| found.0 > speed) {
            fastest = Some(found);
        }
    }
    let gpu = |name: &String| {
        let own = format!("/sys/bus/pci/devices/{name}");
        read(&format!("{own}/class")).filter(|class| class.starts_with(DISPLAY))?;
        number(&format!("{own}/numa_node"))
    };
    let gpu = || list("/sys/bus/pci/devices").iter().find_map(gpu);
    fastest.map(|(_, node)| node).or_else(gpu)
}
